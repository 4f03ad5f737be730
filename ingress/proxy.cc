#include "ingress/proxy.h"

#include <thread>

#include "ingress/front.h"
#include "ingress/http2_front.h"

namespace ingress {

Proxy::Proxy(base::Runtime& runtime, ProxyTimes times) : times_(times), tasks_(runtime) {
  unsigned cores = std::min(4u, std::max(1u, std::thread::hardware_concurrency()));
  // Two lanes per thread, so that none waits for a lane that another thread works on.
  for (unsigned i = 0; i < 2 * cores; ++i) {
    auto lane = std::make_shared<Lane>();
    lane->strand = runtime.strand();
    tasks_.spawn("ingress connections", lane->strand,
                 [](std::shared_ptr<Lane> l) -> base::Task<> { co_await l->upstream.keep_clean(); }(lane));
    lanes_.push_back(std::move(lane));
  }
}

void Proxy::set_routes(RouteTablePtr routes) {
  std::scoped_lock lock(mutex_);
  routes_ = std::move(routes);
}

RouteTablePtr Proxy::routes() const {
  std::scoped_lock lock(mutex_);
  return routes_;
}

std::vector<base::Executor> Proxy::lanes() const {
  std::vector<base::Executor> out;
  for (auto& l : lanes_) out.push_back(l->strand);
  return out;
}

base::http::ConnectionFactory Proxy::factory(bool tls, uint16_t port) {
  return [this, tls, port](std::unique_ptr<base::http::Stream> stream, size_t index) {
    return stream->alpn() == "h2" ? make_http2_front(*this, lane(index), std::move(stream), tls, port)
                                  : make_front(*this, lane(index), std::move(stream), tls, port);
  };
}

base::Task<> Proxy::stop() {
  co_await tasks_.stop();
  for (auto& l : lanes_) base::post(l->strand, [l] { l->upstream.close_all(); });
}

}  // namespace ingress
