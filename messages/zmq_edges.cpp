// Only in thread-sanitizer builds. Packaged libzmq is not instrumented: the sanitizer does not see that a message is handed
// from thread to thread in order, and would report every byte read on the other side. The linker puts these functions in
// front of libzmq's, and they tell it: what was done before a message was given away happened before it was received.
// One edge for all messages: a race between two threads that happen to exchange messages in between may be missed.
#include <zmq.h>

extern "C" {

void __tsan_acquire(void* address);
void __tsan_release(void* address);

int __real_zmq_msg_send(zmq_msg_t* message, void* socket, int flags);
int __real_zmq_msg_recv(zmq_msg_t* message, void* socket, int flags);
int __real_zmq_msg_close(zmq_msg_t* message);
int __real_zmq_send(void* socket, const void* data, size_t size, int flags);
int __real_zmq_recv(void* socket, void* data, size_t size, int flags);
int __real_zmq_msg_init_data(zmq_msg_t* message, void* data, size_t size, zmq_free_fn* release, void* hint);

static char handed_over;

struct owned_data {
  zmq_free_fn* release;
  void* hint;
};

static void release_data(void* data, void* hint) {
  __tsan_acquire(&handed_over);
  auto* owned = static_cast<owned_data*>(hint);
  if (owned->release) owned->release(data, owned->hint);
  delete owned;
}

int __wrap_zmq_msg_send(zmq_msg_t* message, void* socket, int flags) {
  __tsan_release(&handed_over);
  return __real_zmq_msg_send(message, socket, flags);
}

int __wrap_zmq_msg_recv(zmq_msg_t* message, void* socket, int flags) {
  const int got = __real_zmq_msg_recv(message, socket, flags);
  __tsan_acquire(&handed_over);
  return got;
}

int __wrap_zmq_msg_close(zmq_msg_t* message) {
  __tsan_release(&handed_over);
  return __real_zmq_msg_close(message);
}

int __wrap_zmq_send(void* socket, const void* data, size_t size, int flags) {
  __tsan_release(&handed_over);
  return __real_zmq_send(socket, data, size, flags);
}

int __wrap_zmq_recv(void* socket, void* data, size_t size, int flags) {
  const int got = __real_zmq_recv(socket, data, size, flags);
  __tsan_acquire(&handed_over);
  return got;
}

int __wrap_zmq_msg_init_data(zmq_msg_t* message, void* data, size_t size, zmq_free_fn* release, void* hint) {
  auto* owned = new owned_data{release, hint};
  __tsan_release(&handed_over);
  return __real_zmq_msg_init_data(message, data, size, release_data, owned);
}

}  // extern "C"
