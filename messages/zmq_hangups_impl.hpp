// Keeps libzmq from aborting the process when a peer is gone at a bad moment.
#pragma once

namespace ballast {

// libzmq 4.3 that is told of a connection's end while the queue behind it is full (so that nothing is read from it)
// notes at once that it cannot be written to. A heartbeat among what was read before, or one of its own that is due, makes
// it write all the same: "Assertion failed: !_io_error" (github.com/zeromq/libzmq/issues/4364). Whoever may connect can
// bring that about. It learns of the end from epoll, so it gets no EPOLLHUP and EPOLLERR any more: it reads to the end,
// when there is room again, and closes in order. For that, the program's epoll_create1, epoll_ctl and epoll_wait take
// the place of libc's, for libzmq's sets; every other call is passed on.
//
// In force in a program that this is linked into, not in a library that is loaded into a running one. True: it is.
bool zmq_hangups_are_held_back();

}  // namespace ballast
