#include "messages/freed_memory.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace ballast {

void freed_memory::tick(clock::time_point now) {
  if (now - given_back_ < interval) return;
  given_back_ = now;
#ifdef __GLIBC__
  ::malloc_trim(0);
#endif
}

}  // namespace ballast
