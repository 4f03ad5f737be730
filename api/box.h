// An optional value on the heap: copyable, comparable, usable with types that are still incomplete where the member is declared.
#pragma once

#include <memory>
#include <utility>

namespace api {

template <class T>
class Box {
 public:
  Box() = default;
  Box(std::nullptr_t) {}
  Box(T value) : ptr_(std::make_unique<T>(std::move(value))) {}
  Box(const Box& other) : ptr_(other.ptr_ ? std::make_unique<T>(*other.ptr_) : nullptr) {}
  Box(Box&&) noexcept = default;
  Box& operator=(const Box& other) {
    if (this != &other) ptr_ = other.ptr_ ? std::make_unique<T>(*other.ptr_) : nullptr;
    return *this;
  }
  Box& operator=(Box&&) noexcept = default;
  Box& operator=(T value) {
    ptr_ = std::make_unique<T>(std::move(value));
    return *this;
  }

  explicit operator bool() const { return ptr_ != nullptr; }
  bool has_value() const { return ptr_ != nullptr; }
  T& operator*() { return *ptr_; }
  const T& operator*() const { return *ptr_; }
  T* operator->() { return ptr_.get(); }
  const T* operator->() const { return ptr_.get(); }
  T* get() { return ptr_.get(); }
  const T* get() const { return ptr_.get(); }
  // A fresh value, replacing the old one.
  T& emplace() {
    ptr_ = std::make_unique<T>();
    return *ptr_;
  }
  // The value, made if absent.
  T& ensure() { return ptr_ ? *ptr_ : emplace(); }
  void reset() { ptr_.reset(); }

  bool operator==(const Box& other) const { return ptr_ && other.ptr_ ? *ptr_ == *other.ptr_ : ptr_ == other.ptr_; }

 private:
  std::unique_ptr<T> ptr_;
};

}  // namespace api
