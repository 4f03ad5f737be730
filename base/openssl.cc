// Stands in for the algorithms that the top CMakeLists.txt takes out of OpenSSL's lists: an implementation without functions, which cannot be fetched.
extern "C" {

struct ApplianceDispatch {
  int function_id;
  void (*function)();
};
extern const ApplianceDispatch appliance_no_algorithm[1];
const ApplianceDispatch appliance_no_algorithm[1] = {{0, nullptr}};

const void* appliance_no_cipher();
const void* appliance_no_cipher() { return nullptr; }
}
