// Signs approved CertificateSigningRequests of the three client and kubelet signers with the cluster CA; a request that breaks its signer's rules fails.
#pragma once

#include "api/client.h"
#include "datastore/store.h"
#include "server/apiserver/pki/certificate.h"

namespace server {

base::Task<> sign_requests(datastore::Store& store, std::shared_ptr<api::Client> client, pki::KeyPair ca);

}  // namespace server
