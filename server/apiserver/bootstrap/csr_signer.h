// Signs approved CertificateSigningRequests of the three client and kubelet signers with the cluster CA; a request that breaks its signer's rules fails.
// Approves requests for nodes' client certificates by itself (Kubernetes documentation, "Certificate Signing Requests", built-in approval).
#pragma once

#include "api/client.h"
#include "datastore/store.h"
#include "server/apiserver/auth/authorizer.h"
#include "server/apiserver/pki/certificate.h"

namespace server {

class CertificateSigner {
 public:
  CertificateSigner(datastore::Store& store, const Authorizer& authorizer, std::shared_ptr<api::Client> client, pki::KeyPair ca)
      : store_(store), authorizer_(authorizer), client_(std::move(client)), ca_(std::move(ca)) {}
  // Until cancelled.
  base::Task<> run() const;

 private:
  base::Task<> settle(base::Bytes text) const;
  base::Task<> approve(base::json::value csr) const;
  base::Task<> update(base::json::value csr, std::string subresource) const;

  datastore::Store& store_;
  const Authorizer& authorizer_;
  const std::shared_ptr<api::Client> client_;
  const pki::KeyPair ca_;
};

}  // namespace server
