// The nftables table `ip appliance`: its layout, and the one way to change it.
//
// Parts (pods, overlay, services, policies) own sets and chains in it and keep what belongs there; a change is a transaction with the
// difference. When the kernel refuses a difference, or the table was lost, the whole table is written anew from what the parts know, in one
// transaction. mutex() guards the table and the parts' state: a part locks it before it looks at its state.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "network/address.h"
#include "network/netlink.h"
#include "network/nftables.h"

namespace network {

constexpr std::string_view kTable = "appliance";
constexpr std::string_view kLinkPrefix = "appl";
constexpr std::string_view kLocalLink = "appl0";

struct FirewallOptions {
  Ip gateway;
  Cidr pod_cidr;
  std::vector<Cidr> cluster_cidrs;
  std::vector<Cidr> service_cidrs;
  std::vector<Ip> dns_addresses;
  std::string overlay_device = "appl.1";
  uint16_t overlay_port = 8472;
};

class Firewall {
 public:
  static base::Result<std::unique_ptr<Firewall>> open(FirewallOptions options);

  struct Part {
    std::vector<std::string> sets;           // of the layout, which only this part fills
    std::vector<std::string> own_prefixes;   // of the names of chains and sets that the part adds
    std::function<void(nft::Transaction&)>
        dump;  // adds all it knows to a table where its sets are empty and its own chains and sets are not
  };
  int add_part(Part part);

  std::recursive_mutex& mutex() { return mutex_; }
  nft::Transaction transaction() const;
  // Sends the difference. In a table taken over from an earlier process, the first call writes all of the part anew, in one transaction,
  // and leaves the other parts as they are.
  base::Result<> commit(int part, nft::Transaction& difference);
  // Writes the whole table.
  base::Result<> replace();
  // Leaves a table of the same layout alone; otherwise writes it.
  base::Result<> install();
  // Writes it when it is gone.
  base::Result<> verify();
  const FirewallOptions& options() const { return options_; }

 private:
  explicit Firewall(FirewallOptions options) : options_(std::move(options)) {}
  base::Result<bool> present();
  base::Result<> rewrite(size_t part);
  base::Result<std::vector<std::string>> names(bool sets);
  friend base::Result<> probe_table();
  void layout(nft::Transaction& t) const;
  std::string layout_name() const;

  FirewallOptions options_;
  std::recursive_mutex mutex_;
  std::optional<netlink::Socket> socket_;
  std::vector<Part> parts_;
  std::vector<bool> adopted_;  // by part: what is in the kernel is an earlier process's
};

// Base chains of others on the forward (or input) hook whose policy is to drop: "table ip filter, chain FORWARD".
base::Result<std::vector<std::string>> dropping_chains(bool input);

// Removes the table; absent is success.
base::Result<> delete_table();
// Writes the table's layout under another name and removes it, to see whether the kernel can.
base::Result<> probe_table();

}  // namespace network
