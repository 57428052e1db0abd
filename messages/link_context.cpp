#include "messages/curve_impl.hpp"
#include "messages/link.hpp"
#include "messages/zap_impl.hpp"

namespace ballast {

struct link_context::impl {
  zmq::context_t context{1, 4096};
  link_security security;
  std::unique_ptr<zap_handler> keeper;
};

link_context::link_context() : impl_(std::make_unique<impl>()) {}
link_context::~link_context() = default;
void* link_context::native() const noexcept { return &impl_->context; }

status link_context::secure(link_security security) {
  impl& self = *impl_;
  if (self.keeper) return fail(errc::conflict, "this process has its keys already; secure its context once");
  self.security = std::move(security);
  if (!self.security.keys) return {};
  auto started = zap_handler::start(self.context, self.security.allowed);
  if (!started) return fail(started.error());
  self.keeper = std::move(*started);
  return {};
}

const link_security& link_context::security() const noexcept { return impl_->security; }

std::uint64_t link_context::turned_away() const noexcept { return impl_->keeper ? impl_->keeper->turned_away() : 0; }

result<std::string> link_context::prepare_data(void* socket, const std::string& address, bool bind) const {
  return curve::prepare(*static_cast<zmq::socket_t*>(socket), impl_->security, address, bind, curve::data_domain);
}

std::string link_context::announced(const std::string& bound) const { return curve::announced(impl_->security, bound); }

refusal_counts refusals_of(const link_counters& at, const link_context& context) {
  return {{}, context.turned_away(), at.handshake, at.unfinished, at.cut_off, at.malformed, at.forbidden, at.too_many,
          0};
}

}  // namespace ballast
