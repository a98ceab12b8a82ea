// What the thread sanitizer is told of code that it cannot see into.

#if defined(__SANITIZE_THREAD__)
/// Exceptions that two threads share are counted inside libstdc++, which is not instrumented: the sanitizer misses that
/// the thread that lets go last comes after the other. Every future with an error is such a case.
extern "C" const char* __tsan_default_suppressions() {
  return "race:std::__exception_ptr::exception_ptr::_M_release\n";
}
#endif
