#include <fmt/core.h>

#include "gpu/cuda/nccl_link_impl.hpp"
#include "gpu/cuda/patience_impl.hpp"
#include "messages/log.hpp"

namespace ballast::gpu::cuda {
namespace {

constexpr auto moment = std::chrono::milliseconds(1);
constexpr std::uint32_t letter = 64;  // values that the warm run sends to each member

// A step's blocks, captured into a graph: all members' at once, each as large as the step's capacity has them.
class nccl_steps final : public exchange_steps {
 public:
  nccl_steps(nccl_world& world, const cuda_communicator::parts& parts, const std::vector<float*>& out,
             const std::vector<float*>& in, const nccl_world::watch& watching)
      : world_(world), parts_(parts), out_(out), in_(in), watching_(watching) {}

  status rows(const layer_args& a, const stream& on) override {
    const auto rank = parts_.links->rank();
    const auto& own = parts_.views[rank];
    const auto row = [&](std::uint32_t m) { return own.rows + std::size_t{m} * a.shape.max_tokens * a.shape.hidden; };
    const auto picks = [&](std::uint32_t m) { return own.picks + std::size_t{m} * a.shape.max_tokens * a.shape.top_k; };
    std::vector<nccl_world::transfer> all;
    for (std::uint32_t m = 0; m < parts_.views.size(); ++m) {
      if (m == rank) continue;
      all.push_back({m, row(rank), row(m), std::size_t{a.capacity} * a.shape.hidden * sizeof(std::uint16_t)});
      all.push_back({m, picks(rank), picks(m), std::size_t{a.capacity} * a.shape.top_k * sizeof(pick)});
    }
    return world_.exchange(all, on, watching_);
  }

  status answers(const layer_args& a, const stream& on) override {
    const auto floats = verdict_floats + std::size_t{a.capacity} * a.shape.top_k * a.shape.hidden;
    std::vector<nccl_world::transfer> all;
    for (std::uint32_t m = 0; m < parts_.views.size(); ++m)
      if (m != parts_.links->rank())
        all.push_back({m, out_[m] - verdict_floats, in_[m] - verdict_floats, floats * sizeof(float)});
    return world_.exchange(all, on, watching_);
  }

 private:
  nccl_world& world_;
  const cuda_communicator::parts& parts_;
  const std::vector<float*>&out_, &in_;
  const nccl_world::watch& watching_;
};

std::uint64_t pattern(epoch_t epoch, std::uint32_t from, std::uint32_t to, std::uint32_t i) noexcept {
  return (epoch * 31 + from * 257 + to) * 0x9e3779b97f4a7c15ull + i;
}

}  // namespace

void nccl_link::close(host::host_communicator& links) noexcept {
  graphs_.reset();
  const auto until = host::clock::now() + std::chrono::seconds(2);
  const auto finished = links.alive() ? world_->finish([&]() -> status {
    if (host::clock::now() < until) return links.alive_until(host::clock::now() + moment);
    return fail(errc::timed_out, "a member stays away");
  })
                                      : status{};
  if (!finished) log::info("epoch {}: NCCL is given up: {}", links.epoch(), finished.error().text);
  world_.reset();
}

std::size_t nccl_exchange::block_bytes() const noexcept {
  return (verdict_floats * sizeof(float) + exchange_.shape().answer_bytes + 255) / 256 * 256;
}

status nccl_exchange::prepare() {
  if (nccl_ != nullptr) return {};
  const auto library = nccl_library::get();
  if (!library) return fail(library.error());
  if (auto ok = stand_on(ordinal_); !ok) return ok;
  const std::size_t members = exchange_.shape().members;
  const auto letters = 2 * members * letter * sizeof(std::uint64_t);
  auto blocks = memory::make(memory_kind::device, 2 * members * block_bytes(), "blocks of answers for NCCL");
  if (!blocks) return fail(blocks.error());
  auto mail = memory::make(memory_kind::device, letters, "mail of a warm run");
  if (!mail) return fail(mail.error());
  auto pinned = memory::make(memory_kind::pinned, letters, "mail of a warm run");
  if (!pinned) return fail(pinned.error());
  auto own = stream::make(true);
  if (!own) return fail(own.error());
  auto done = event::make();
  if (!done) return fail(done.error());
  blocks_ = std::move(*blocks);
  mail_ = std::move(*mail);
  letters_ = std::move(*pinned);
  stream_ = std::move(*own);
  event_ = std::move(*done);
  nccl_ = *library;
  return {};
}

nccl_exchange::block_places nccl_exchange::place(cuda_communicator::parts& parts) const {
  const auto members = parts.links->size(), rank = parts.links->rank();
  const auto own = exchange_memory::view(exchange_.base(), exchange_.shape(), parts.lane);
  block_places made;
  for (std::size_t m = 0; m < members; ++m) {
    made.out.push_back(blocks_.as<float>(2 * m * block_bytes()) + verdict_floats);
    made.in.push_back(blocks_.as<float>((2 * m + 1) * block_bytes()) + verdict_floats);
    const bool self = m == rank;
    parts.views.push_back(self ? member_view{own.rows, own.picks, own.answers, nullptr}
                               : member_view{nullptr, nullptr, made.out.back(), nullptr});
    parts.answers.push_back(self ? own.answers : made.in.back());
  }
  return made;
}

status nccl_exchange::join(cuda_communicator::parts& parts, host::clock::time_point until) {
  if (auto ok = prepare(); !ok) return ok;
  auto& links = *parts.links;
  const nccl_world::watch watching = [&]() -> status {
    if (auto ok = links.alive_until(host::clock::now() + moment); !ok) return ok;
    if (parts.stop.raised()) return fail(errc::aborted, "cancelled while NCCL connected");
    if (host::clock::now() < until) return {};
    return fail(errc::timed_out,
                "NCCL did not connect in time; name the network interface in NCCL_SOCKET_IFNAME, and "
                "see what NCCL_DEBUG=INFO says");
  };
  std::string id;
  if (links.rank() == 0) {
    auto made = nccl_world::make_id(*nccl_);
    if (!made) return fail(made.error());
    id = std::move(*made);
  }
  const auto ids = links.share(id, until);
  if (!ids) return fail(ids.error());
  auto world = nccl_world::make(*nccl_, ids->front(), {ordinal_, links.rank(), links.size(), ctas_}, watching);
  if (!world) return fail(world.error());
  const auto places = place(parts);
  if (auto ok = prove(**world, parts, until, watching); !ok) return ok;
  auto graphs = std::make_unique<step_graphs>(recipe_);
  nccl_steps steps(**world, parts, places.out, places.in, watching);
  for (model_index m = 0; m < recipe_.models(); ++m)
    if (auto ok = graphs->prepare(m, steps, stream_); !ok) return ok;
  parts.nccl = std::make_unique<nccl_link>(std::move(*world), std::move(graphs));
  log::info("epoch {}: tokens travel by NCCL {} between {} members", links.epoch(), nccl_version_name(nccl_->version),
            links.size());
  return {};
}

// A letter to each member, then each one's letter back to it: both operations of a step, with every peer, checked.
status nccl_exchange::prove(nccl_world& world, const cuda_communicator::parts& parts, host::clock::time_point until,
                            const nccl_world::watch& watching) {
  const auto rank = parts.links->rank(), members = parts.links->size();
  const auto epoch = parts.links->epoch();
  const std::size_t half = std::size_t{members} * letter, bytes = half * sizeof(std::uint64_t);
  auto* values = letters_.as<std::uint64_t>();
  auto* mail = mail_.as<std::uint64_t>();
  for (std::uint32_t m = 0; m < members; ++m)
    for (std::uint32_t i = 0; i < letter; ++i) values[m * letter + i] = pattern(epoch, rank, m, i);
  const auto copy = [&](void* to, const void* from) {
    return check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_.get()), "copying the mail of a warm run");
  };
  const auto pass = [&](std::uint64_t* out, std::uint64_t* in) {
    std::vector<nccl_world::transfer> all;
    for (std::uint32_t m = 0; m < members; ++m)
      if (m != rank) all.push_back({m, out + m * letter, in + m * letter, letter * sizeof(std::uint64_t)});
    return world.exchange(all, stream_, watching);
  };
  auto issued = copy(mail, values);
  if (issued) issued = pass(mail, mail + half);
  if (issued) issued = copy(values, mail + half);  // what they wrote
  if (issued) issued = pass(mail + half, mail);
  if (issued) issued = copy(values + half, mail);  // what this rank wrote, returned
  if (issued) issued = event_.record(stream_);
  if (!issued) return issued;
  if (auto ok = wait_for(event_, *parts.links, parts.stop, until, {.unblock = [&] { world.end(); }}); !ok) return ok;
  for (std::uint32_t m = 0; m < members; ++m) {
    if (m == rank) continue;
    for (std::uint32_t i = 0; i < letter; ++i)
      if (values[m * letter + i] != pattern(epoch, m, rank, i) ||
          values[half + m * letter + i] != pattern(epoch, rank, m, i))
        return fail(errc::corrupt,
                    fmt::format("data from seat {} arrived changed by NCCL", index_of(parts.links->members()[m])));
  }
  return {};
}

}  // namespace ballast::gpu::cuda
