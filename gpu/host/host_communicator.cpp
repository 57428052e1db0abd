#include <fmt/core.h>

#include <algorithm>

#include "gpu/host/host_communicator_impl.hpp"

namespace ballast::gpu::host {
namespace {
constexpr std::size_t header_cell = 0, probe_cell = 1, echo_cell = 2, first_data_cell = 3;
}

int comm_limits::queue() const noexcept {
  int exchanges = 0;
  for (const auto n : layers) exchanges += static_cast<int>(2 * n);
  return exchanges + 16;
}

host_communicator::host_communicator(parts made)
    : made_(std::move(made)), headers_(made_.members.size()), ahead_(made_.members.size()) {
  std::size_t layers = 0;
  for (const auto n : made_.limits.layers) {
    first_layer_.push_back(layers);
    layers += n;
  }
  const auto cells = (first_data_cell + 2 * layers) * made_.members.size();
  cells_.resize(cells);
  filled_.resize(cells);
}

void host_communicator::wake() noexcept {
  made_.signals->woken = true;
  made_.signals->ring.ring();
}

void host_communicator::abort() noexcept {
  made_.signals->aborted = true;
  made_.signals->ring.ring();
}

std::size_t host_communicator::cell(frame_kind kind, model_index model, std::uint32_t layer) const noexcept {
  switch (kind) {
    case frame_kind::probe:
      return probe_cell;
    case frame_kind::echo:
      return echo_cell;
    case frame_kind::dispatch:
      return first_data_cell + 2 * (first_layer_[model] + layer);
    case frame_kind::combine:
      return first_data_cell + 2 * (first_layer_[model] + layer) + 1;
    default:
      return header_cell;
  }
}

bool host_communicator::belongs(const frame_head& head, std::size_t payload) const noexcept {
  if (head.magic != frame_head{}.magic || head.epoch != made_.epoch || head.source >= size() ||
      head.source == made_.rank)
    return false;
  const auto layers = head.model < made_.limits.layers.size() ? made_.limits.layers[head.model] : 0;
  const auto row_bytes = std::uint64_t{head.width} * sizeof(float);
  switch (head.kind) {
    case frame_kind::header:
      return payload == sizeof(step_header);
    case frame_kind::probe:
    case frame_kind::echo:
      return true;
    case frame_kind::failed:
      return payload >= 1;
    case frame_kind::dispatch:
      return head.step == step_ && head.layer < layers &&
             payload == std::uint64_t{head.entries} * sizeof(dispatch_entry) + head.rows * row_bytes;
    case frame_kind::combine:
      return head.step == step_ && head.layer < layers && payload == head.entries * row_bytes;
  }
  return false;
}

void host_communicator::file(zmq::message_t message) {
  if (message.size() < sizeof(frame_head)) {
    ++dropped_;
    return;
  }
  const auto head = read_as<frame_head>(message.data());
  if (!belongs(head, message.size() - sizeof head)) {
    ++dropped_;
    return;
  }
  if (head.kind == frame_kind::failed) {
    const auto* text = static_cast<const char*>(message.data()) + sizeof head;
    if (!failed_)
      failed_ =
          error{static_cast<errc>(text[0]), fmt::format("seat {} gave up: {}", index_of(made_.members[head.source]),
                                                        std::string(text + 1, message.size() - sizeof head - 1))};
    return;
  }
  const auto at = cell(head.kind, head.model, head.layer) * size() + head.source;
  if (head.kind == frame_kind::header && filled_[at] && !ahead_[head.source].size()) {
    ahead_[head.source] = std::move(message);
    return;
  }
  if (filled_[at]) {
    ++dropped_;
    return;
  }
  cells_[at] = std::move(message);
  filled_[at] = true;
}

void host_communicator::receive_all() {
  zmq::message_t message;
  while (try_receive(made_.inbound.socket, message)) file(std::move(message));
}

// The error this communicator is in, if any.
status host_communicator::broken() {
  if (!failed_ && made_.signals->aborted)
    failed_ = error{errc::aborted, fmt::format("communicator of epoch {} was aborted", made_.epoch)};
  if (failed_) return fail(*failed_);
  return {};
}

status host_communicator::alive() {
  receive_all();
  return broken();
}

status host_communicator::alive_until(clock::time_point until) {
  for (;;) {
    if (auto ok = alive(); !ok || clock::now() >= until) return ok;
    wait(made_.inbound.socket, ZMQ_POLLIN, made_.signals->ring, until);
  }
}

status host_communicator::give_up_alone(error why) {
  if (!failed_) failed_ = std::move(why);
  return fail(*failed_);
}

status host_communicator::give_up(error why) {
  if (failed_) return fail(*failed_);
  for (std::uint32_t to = 0; to < size(); ++to) {
    if (to == made_.rank) continue;
    auto frame = make_frame({.kind = frame_kind::failed}, 1 + why.text.size());
    auto* text = static_cast<char*>(frame.data()) + sizeof(frame_head);
    text[0] = static_cast<char>(why.code);
    std::memcpy(text + 1, why.text.data(), why.text.size());
    try_send(made_.outbound[to], frame);  // a peer that misses it runs into its own timeout
  }
  return give_up_alone(std::move(why));
}

result<bool> host_communicator::wait_for_peer() {
  for (;;) {
    receive_all();
    if (auto ok = broken(); !ok) return fail(std::move(ok.error()));
    if (std::find(filled_.begin(), filled_.begin() + size(), true) != filled_.begin() + size()) return true;
    if (made_.signals->woken.exchange(false)) return false;
    wait(made_.inbound.socket, ZMQ_POLLIN, made_.signals->ring, std::nullopt);
  }
}

bool host_communicator::peer_has_begun() {
  receive_all();
  return std::find(filled_.begin(), filled_.begin() + size(), true) != filled_.begin() + size();
}

step_t host_communicator::peer_step() const {
  for (std::uint32_t r = 0; r < size(); ++r)
    if (filled_[r]) return read_as<frame_head>(cells_[r].data()).step;
  return step_ + 1;
}

zmq::message_t host_communicator::make_frame(frame_head head, std::size_t payload) const {
  head.epoch = made_.epoch;
  head.step = step_;
  head.source = made_.rank;
  zmq::message_t frame(sizeof head + payload);
  std::memcpy(frame.data(), &head, sizeof head);
  return frame;
}

status host_communicator::post(std::uint32_t to, zmq::message_t frame) {
  const auto until = deadline();
  for (;;) {
    if (auto ok = broken(); !ok) return ok;
    switch (try_send(made_.outbound[to], frame)) {
      case sent::yes:
        return {};
      case sent::failed:
        return give_up_alone(
            {errc::unavailable, fmt::format("seat {} cannot be sent to", index_of(made_.members[to]))});
      case sent::full:
        break;
    }
    if (clock::now() >= until)
      return give_up_alone({errc::timed_out, fmt::format("epoch {} step {}: seat {} takes no more frames", made_.epoch,
                                                         step_, index_of(made_.members[to]))});
    wait(made_.outbound[to], ZMQ_POLLOUT, made_.signals->ring, until);
  }
}

std::string host_communicator::names(const mask& wanted, std::size_t cell_index) const {
  std::string list;
  for (std::uint32_t r = 0; r < size(); ++r)
    if (wanted[r] && !filled_[cell_index * size() + r])
      list += fmt::format("{}{}", list.empty() ? "" : ", ", index_of(made_.members[r]));
  return list;
}

status host_communicator::collect_cell(std::size_t cell_index, const mask& wanted, std::vector<zmq::message_t>& out,
                                       const char* what, clock::time_point until) {
  const auto complete = [&] {
    for (std::uint32_t r = 0; r < size(); ++r)
      if (wanted[r] && !filled_[cell_index * size() + r]) return false;
    return true;
  };
  for (;;) {
    receive_all();
    if (auto ok = broken(); !ok) return ok;
    if (complete()) break;
    if (clock::now() >= until)
      return give_up_alone({errc::timed_out, fmt::format("epoch {} step {}: no {} from seat {} in time", made_.epoch,
                                                         step_, what, names(wanted, cell_index))});
    wait(made_.inbound.socket, ZMQ_POLLIN, made_.signals->ring, until);
  }
  out.resize(size());
  for (std::uint32_t r = 0; r < size(); ++r) {
    if (!wanted[r]) continue;
    out[r] = std::move(cells_[cell_index * size() + r]);
    filled_[cell_index * size() + r] = false;
    if (cell_index == header_cell && ahead_[r].size()) {
      cells_[r] = std::move(ahead_[r]);
      ahead_[r].rebuild();  // a moved message_t may hold what it was swapped with
      filled_[r] = true;
    }
  }
  return {};
}

status host_communicator::collect(frame_kind kind, model_index model, std::uint32_t layer, const mask& wanted,
                                  std::vector<zmq::message_t>& out) {
  return collect_cell(cell(kind, model, layer), wanted, out, kind == frame_kind::dispatch ? "dispatch" : "combine",
                      deadline());
}

host_communicator::mask host_communicator::peers() const {
  mask all(size(), true);
  all[made_.rank] = false;
  return all;
}

status host_communicator::exchange_headers(const step_header& mine, std::span<step_header> out) {
  return swap_headers(mine, out, deadline());
}

status host_communicator::swap_headers(const step_header& mine, std::span<step_header> out, clock::time_point until) {
  if (auto ok = broken(); !ok) return ok;
  if (out.size() != size())
    return fail(errc::invalid_argument, fmt::format("room for {} headers of {} members", out.size(), size()));
  step_ = mine.step;
  // No peer can have sent anything for this step before it has this rank's header: what lies here is a step's that
  // broke off.
  std::fill(filled_.begin() + static_cast<std::ptrdiff_t>(first_data_cell * size()), filled_.end(), false);
  for (std::uint32_t to = 0; to < size(); ++to) {
    if (to == made_.rank) continue;
    auto frame = make_frame({.kind = frame_kind::header}, sizeof mine);
    std::memcpy(static_cast<std::byte*>(frame.data()) + sizeof(frame_head), &mine, sizeof mine);
    if (auto ok = post(to, std::move(frame)); !ok) return ok;
  }
  std::vector<zmq::message_t> frames;
  if (auto ok = collect_cell(header_cell, peers(), frames, "step header", until); !ok) return ok;
  headers_[made_.rank] = mine;
  for (std::uint32_t r = 0; r < size(); ++r) {
    if (r == made_.rank) continue;
    headers_[r] = read_as<step_header>(static_cast<const std::byte*>(frames[r].data()) + sizeof(frame_head));
    if (headers_[r].step != mine.step)
      return give_up({errc::corrupt, fmt::format("epoch {}: seat {} is at step {}, seat {} at step {}", made_.epoch,
                                                 index_of(made_.members[r]), headers_[r].step,
                                                 index_of(made_.members[made_.rank]), mine.step)});
  }
  std::copy(headers_.begin(), headers_.end(), out.begin());
  return {};
}

status host_communicator::prove(clock::time_point until) {
  own_deadline_ = until;
  step_header mine{.step = 0, .ready_epoch = made_.epoch, .tokens = {}, .versions = {}, .flags = made_.rank};
  std::vector<step_header> seen(size());
  if (auto ok = swap_headers(mine, seen, until); !ok) return ok;
  for (std::uint32_t r = 0; r < size(); ++r)
    if (seen[r].ready_epoch != made_.epoch || seen[r].flags != r)
      return give_up({errc::corrupt, fmt::format("epoch {}: seat {} sent a wrong header while connecting", made_.epoch,
                                                 index_of(made_.members[r]))});
  constexpr std::size_t values = 256;
  const auto value = [&](std::uint32_t from, std::uint32_t to, std::size_t i) {
    return static_cast<std::uint32_t>((made_.epoch * 31 + from) * 1'000'003 + to * 257 + i) * 2'654'435'761u;
  };
  const auto send_all = [&](frame_kind kind, bool back) -> status {
    for (std::uint32_t to = 0; to < size(); ++to) {
      if (to == made_.rank) continue;
      auto frame = make_frame({.kind = kind}, values * sizeof(std::uint32_t));
      auto* payload = static_cast<std::byte*>(frame.data()) + sizeof(frame_head);
      for (std::size_t i = 0; i < values; ++i) {
        const auto v = back ? value(to, made_.rank, i) : value(made_.rank, to, i);
        std::memcpy(payload + i * sizeof v, &v, sizeof v);
      }
      if (auto ok = post(to, std::move(frame)); !ok) return ok;
    }
    return {};
  };
  for (const bool back : {false, true}) {
    const auto kind = back ? frame_kind::echo : frame_kind::probe;
    std::vector<zmq::message_t> frames;
    if (auto ok = send_all(kind, back); !ok) return ok;
    if (auto ok = collect_cell(cell(kind, 0, 0), peers(), frames, back ? "echo" : "probe", until); !ok) return ok;
    for (std::uint32_t r = 0; r < size(); ++r) {
      if (r == made_.rank) continue;
      const auto* payload = static_cast<const std::byte*>(frames[r].data()) + sizeof(frame_head);
      bool good = frames[r].size() == sizeof(frame_head) + values * sizeof(std::uint32_t);
      for (std::size_t i = 0; good && i < values; ++i)
        good = read_as<std::uint32_t>(payload + i * 4) == (back ? value(made_.rank, r, i) : value(r, made_.rank, i));
      if (!good)
        return give_up({errc::corrupt, fmt::format("epoch {}: data from seat {} arrived changed", made_.epoch,
                                                   index_of(made_.members[r]))});
    }
  }
  own_deadline_.reset();
  return {};
}

result<std::vector<std::string>> host_communicator::share(const std::string& mine, clock::time_point until) {
  if (auto ok = broken(); !ok) return fail(std::move(ok.error()));
  if (mine.size() > most_shared)
    return fail(errc::invalid_argument, fmt::format("{} bytes to share; at most {}", mine.size(), most_shared));
  // Two cells by turns: who begins a round has seen all of the one before, so that all have left the one before that.
  // prove() ends with the echo.
  const auto kind = shared_++ % 2 == 0 ? frame_kind::probe : frame_kind::echo;
  own_deadline_ = until;
  for (std::uint32_t to = 0; to < size(); ++to) {
    if (to == made_.rank) continue;
    auto frame = make_frame({.kind = kind}, mine.size());
    std::memcpy(static_cast<std::byte*>(frame.data()) + sizeof(frame_head), mine.data(), mine.size());
    if (auto ok = post(to, std::move(frame)); !ok) return fail(std::move(ok.error()));
  }
  std::vector<zmq::message_t> frames;
  if (auto ok = collect_cell(cell(kind, 0, 0), peers(), frames, "word", until); !ok) return fail(std::move(ok.error()));
  own_deadline_.reset();
  std::vector<std::string> all(size());
  for (std::uint32_t r = 0; r < size(); ++r)
    if (r != made_.rank)
      all[r].assign(static_cast<const char*>(frames[r].data()) + sizeof(frame_head),
                    frames[r].size() - sizeof(frame_head));
  all[made_.rank] = mine;
  return all;
}

}  // namespace ballast::gpu::host
