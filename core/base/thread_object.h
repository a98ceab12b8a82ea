#pragma once
// Objects with one instance for each thread, usable in destructors of static objects too.

#include <utility>

namespace taper {

/// Returns the calling thread's T, which its first call makes and the thread's end destroys. Destructors of
/// static objects run after that on the main thread: they get another T, which is never destroyed.
template <class T>
T& thread_object() {
  static constinit thread_local T* object = nullptr;
  struct Ending {
    ~Ending() { delete std::exchange(object, nullptr); }
  };
  static thread_local const Ending ending;
  if (object == nullptr) object = new T;
  return *object;
}

}  // namespace taper
