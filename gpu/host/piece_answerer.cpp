#include <fmt/core.h>

#include <cstring>

#include "gpu/host/piece_answerer_impl.hpp"

namespace ballast::gpu::host {
namespace {

zmq::message_t make_reply(const pull_request& request, std::uint64_t total, std::uint64_t checksum, std::size_t bytes) {
  pull_reply head;
  head.id = request.id;
  head.total = total;
  head.checksum = checksum;
  head.offset = request.offset;
  zmq::message_t reply(sizeof head + bytes);
  std::memcpy(reply.data(), &head, sizeof head);
  return reply;
}

std::byte* body(zmq::message_t& reply) { return static_cast<std::byte*>(reply.data()) + sizeof(pull_reply); }

}  // namespace

zmq::message_t make_refusal(std::uint64_t id, const error& why) {
  pull_reply head;
  head.id = id;
  head.refused = 1;
  head.code = static_cast<std::uint8_t>(why.code);
  zmq::message_t reply(sizeof head + why.text.size());
  std::memcpy(reply.data(), &head, sizeof head);
  std::memcpy(static_cast<char*>(reply.data()) + sizeof head, why.text.data(), why.text.size());
  return reply;
}

std::optional<zmq::message_t> piece_answerer::answer(const zmq::message_t& message) {
  pull_request request;
  if (message.size() == sizeof request) std::memcpy(&request, message.data(), sizeof request);
  if (message.size() != sizeof request || request.magic != pull_request{}.magic) {
    ++malformed_;
    return make_refusal(0, {errc::malformed, "not a request for a page or for dense weights"});
  }
  auto made = reply_to(request);
  return made ? std::move(*made) : make_refusal(request.id, made.error());
}

result<zmq::message_t> piece_answerer::reply_to(const pull_request& request) const {
  if (request.model >= models_.size())
    return fail(errc::not_found, fmt::format("model {}: this rank serves {} models", request.model, models_.size()));
  if (request.length > piece_bytes)
    return fail(errc::invalid_argument, fmt::format("{} bytes at once; at most {}", request.length, piece_bytes));
  const auto& model = *models_[request.model];
  switch (request.kind) {
    case pull_kind::page:
      return page_piece(model, request);
    case pull_kind::dense:
      return dense_piece(model, request);
  }
  return fail(errc::malformed, fmt::format("request of kind {}", static_cast<int>(request.kind)));
}

result<zmq::message_t> piece_answerer::page_piece(const served_model& model, const pull_request& request) const {
  const page_key key{request.layer, request.expert};
  const auto sum = model.checksum_of_key(key);
  if (!sum)
    return fail(errc::not_found,
                fmt::format("no page here holds model {} layer {} expert {}", request.model, key.layer, key.expert));
  auto reply = make_reply(request, model.page_bytes(), *sum, request.length);
  if (request.length == 0) return reply;
  // Reads under a pin: a page given back between two pieces is refused, never sent with another's bytes.
  if (auto ok = model.read_key(key, request.checksum, request.offset, {body(reply), request.length}); !ok)
    return fail(std::move(ok.error()));
  return reply;
}

result<zmq::message_t> piece_answerer::dense_piece(const served_model& model, const pull_request& request) const {
  const auto blob = model.dense();
  if (blob == nullptr)
    return fail(errc::not_found, fmt::format("no dense weights of model {} here yet", request.model));
  auto reply = make_reply(request, blob->bytes.size(), blob->checksum, request.length);
  if (request.length == 0) return reply;
  if (request.checksum != blob->checksum)
    return fail(errc::not_found, fmt::format("the dense weights of model {} changed meanwhile", request.model));
  if (request.offset > blob->bytes.size() || request.length > blob->bytes.size() - request.offset)
    return fail(errc::invalid_argument, fmt::format("bytes {} to {} of {}", request.offset,
                                                    request.offset + request.length, blob->bytes.size()));
  std::memcpy(body(reply), blob->bytes.data() + request.offset, request.length);
  return reply;
}

}  // namespace ballast::gpu::host
