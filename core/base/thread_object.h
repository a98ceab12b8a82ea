#pragma once
// Objects that every thread has one of, usable in destructors of static objects too.

#include <utility>

namespace taper {

/// The calling thread's T, made by its first call and destroyed when the thread ends. Static objects are
/// destroyed after the main thread's thread-local ones: their destructors get another T, which lives on.
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
