// Parts of messages without waiting, and without exceptions.
#pragma once

#include <cerrno>
#include <zmq.hpp>

namespace ballast {

template <class Call>
bool unless_interrupted(Call call) {
  int done = -1;
  do done = call();
  while (done < 0 && zmq_errno() == EINTR);
  return done >= 0;
}

inline bool receive_part(zmq::socket_t& from, zmq::message_t& part) {
  return unless_interrupted([&] { return zmq_msg_recv(part.handle(), from.handle(), ZMQ_DONTWAIT); });
}
inline bool send_part(zmq::socket_t& to, zmq::message_t& part, int flags) {
  return unless_interrupted([&] { return zmq_msg_send(part.handle(), to.handle(), flags | ZMQ_DONTWAIT); });
}

}  // namespace ballast
