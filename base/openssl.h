// Owners of OpenSSL's objects, and PEM text in and out of its memory BIOs. For source files only: headers do not show OpenSSL.
#pragma once

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

namespace base::openssl {

template <auto F>
struct Free {
  template <class T>
  void operator()(T* p) const {
    F(p);
  }
};
template <class T, auto F>
using Owned = std::unique_ptr<T, Free<F>>;

using Bignum = Owned<BIGNUM, BN_free>;
using Bio = Owned<BIO, BIO_free_all>;
using Certificate = Owned<X509, X509_free>;
using DigestContext = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using EcdsaSignature = Owned<ECDSA_SIG, ECDSA_SIG_free>;
using Extension = Owned<X509_EXTENSION, X509_EXTENSION_free>;
using GeneralNames = Owned<GENERAL_NAMES, GENERAL_NAMES_free>;
using Key = Owned<EVP_PKEY, EVP_PKEY_free>;
using Name = Owned<X509_NAME, X509_NAME_free>;
using Request = Owned<X509_REQ, X509_REQ_free>;

// Reads from the text, which must outlive it.
inline Bio reader(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }
inline Bio writer() { return Bio(BIO_new(BIO_s_mem())); }
// What has been written.
inline std::string text_of(const Bio& bio) {
  char* data = nullptr;
  long n = BIO_get_mem_data(bio.get(), &data);
  return n > 0 ? std::string(data, static_cast<size_t>(n)) : std::string();
}

}  // namespace base::openssl
