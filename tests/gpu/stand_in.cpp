// A GPU for machines without one: tensors that say "cuda:0", lie in the memory of the host and are computed by the
// CPU's kernels. What matters is what it refuses, as a real one does: operations on tensors of both devices, reading
// values without bringing them back, and more memory than it was given.
//
// Built against the torch that is installed, and loaded before it (stand_in.py).

#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

namespace {

constexpr auto GPU = c10::DeviceType::CUDA;
constexpr int64_t BLOCK = 512;  // what CUDA's allocator rounds to

std::atomic<int64_t> used{0}, peak{0}, limit{INT64_MAX};

struct Piece {
  int64_t bytes;
  void* place;
};

void give_back(void* context) {
  auto* piece = static_cast<Piece*>(context);
  used -= piece->bytes;
  free(piece->place);
  delete piece;
}

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t wanted) override {
    const int64_t bytes = (static_cast<int64_t>(wanted) + BLOCK - 1) / BLOCK * BLOCK;
    if (used + bytes > limit)
      throw c10::OutOfMemoryError({__func__, __FILE__, __LINE__}, "CUDA out of memory: the stand-in's limit");
    void* place = nullptr;
    if (wanted && posix_memalign(&place, 64, wanted)) throw std::bad_alloc();
    const int64_t now = used += bytes;
    for (int64_t highest = peak; now > highest && !peak.compare_exchange_weak(highest, now);) {
    }
    return {place, new Piece{bytes, place}, &give_back, c10::Device(GPU, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override { memcpy(to, from, bytes); }
};

Memory memory;

// One device with one stream, on which everything has happened already.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static constexpr c10::DeviceType static_type = GPU;
  c10::DeviceType type() const override { return GPU; }
  c10::Device exchangeDevice(c10::Device) const override { return {GPU, 0}; }
  c10::Device getDevice() const override { return {GPU, 0}; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override {
    return c10::Stream(c10::Stream::DEFAULT, {GPU, 0});
  }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return getStream(device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream) const override { return getStream({GPU, 0}); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void recordDataPtrOnStream(const c10::DataPtr&, const c10::Stream&) const override {}
};

bool is_there(const at::Tensor& tensor) { return tensor.defined() && tensor.device().is_cuda(); }

// The same memory as a tensor of the CPU.
at::Tensor here(const at::Tensor& tensor) {
  if (!is_there(tensor)) return tensor;
  auto storage = tensor.storage();
  auto* first = static_cast<char*>(storage.mutable_data()) + tensor.storage_offset() * tensor.element_size();
  auto alias = at::from_blob(
      first, tensor.sizes(), tensor.strides(), [storage](void*) mutable { storage = c10::Storage(); },
      tensor.options().device(at::kCPU).requires_grad(false));
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) alias.unsafeGetTensorImpl()->set_wrapped_number(true);
  return alias;
}

at::Tensor new_there(at::IntArrayRef sizes, at::ScalarType type, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(sizes, &memory, c10::DispatchKeySet(c10::DispatchKey::CUDA), type, format);
}

at::Tensor new_there(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType type) {
  return at::detail::empty_strided_generic(
      sizes, strides, &memory, c10::DispatchKeySet(c10::DispatchKey::CUDA), type);
}

// A copy of what the CPU computed.
at::Tensor there(const at::Tensor& tensor) {
  if (!tensor.defined() || is_there(tensor)) return tensor;
  auto copy = tensor.is_non_overlapping_and_dense()
      ? new_there(tensor.sizes(), tensor.strides(), tensor.scalar_type())
      : new_there(tensor.sizes(), tensor.scalar_type(), std::nullopt);
  here(copy).copy_(tensor);
  return copy;
}

using Sizes = c10::SymIntArrayRef;
template <class T>
using Maybe = std::optional<T>;

at::Tensor empty(
    Sizes sizes, Maybe<at::ScalarType> type, Maybe<at::Layout>, Maybe<at::Device>, Maybe<bool>,
    Maybe<at::MemoryFormat> format) {
  return new_there(C10_AS_INTARRAYREF_SLOW(sizes), c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(
    Sizes sizes, Sizes strides, Maybe<at::ScalarType> type, Maybe<at::Layout>, Maybe<at::Device>, Maybe<bool>) {
  return new_there(
      C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), c10::dtype_or_default(type));
}

at::Tensor& copy_(at::Tensor& self, const at::Tensor& source, bool) {
  at::NoGradGuard guard;
  here(self).copy_(here(source));
  return self;
}

at::Tensor copy_from(const at::Tensor& source, const at::Tensor& target, bool) {
  here(target).copy_(here(source));
  return target;
}

const at::Tensor& resize_(const at::Tensor& self, Sizes wanted, Maybe<at::MemoryFormat> format) {
  const auto sizes = C10_AS_INTARRAYREF_SLOW(wanted);
  const auto needed = at::detail::computeStorageNbytesContiguous(sizes, self.element_size(), self.storage_offset());
  const auto& storage = self.storage();
  if (needed > storage.nbytes()) {
    auto fresh = memory.allocate(needed);
    if (storage.nbytes()) memcpy(fresh.get(), storage.data(), storage.nbytes());
    storage.set_data_ptr_noswap(std::move(fresh));
    storage.set_nbytes(needed);
  }
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_sizes_contiguous(sizes);
  if (format && *format != at::MemoryFormat::Preserve && *format != at::MemoryFormat::Contiguous)
    impl->empty_tensor_restride(*format);
  return self;
}

at::Tensor as_strided(const at::Tensor& self, Sizes sizes, Sizes strides, Maybe<c10::SymInt> offset) {
  Maybe<int64_t> first = offset ? Maybe<int64_t>(offset->guard_int(__FILE__, __LINE__)) : std::nullopt;
  return at::native::as_strided_tensorimpl(
      self, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), first);
}

at::Tensor view(const at::Tensor& self, Sizes sizes) { return at::native::view(self, C10_AS_INTARRAYREF_SLOW(sizes)); }

at::Tensor reshape_alias(const at::Tensor& self, Sizes sizes, Sizes strides) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides));
}

at::Tensor unfold(const at::Tensor& self, int64_t axis, int64_t size, int64_t step) {
  return at::native::unfold(self, axis, size, step);
}

at::Tensor& set_whole_storage(at::Tensor& self, at::Storage storage) {
  auto* impl = self.unsafeGetTensorImpl();
  const auto count = static_cast<int64_t>(storage.nbytes() / self.element_size());
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_storage_offset(0);
  impl->set_sizes_contiguous({count});
  return self;
}

at::Tensor& set_storage(at::Tensor& self, at::Storage storage, c10::SymInt offset, Sizes sizes, Sizes strides) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(std::move(storage));
  impl->set_storage_offset(offset.guard_int(__FILE__, __LINE__));
  impl->set_sizes_and_strides(C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides));
  return self;
}

at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  auto* impl = self.unsafeGetTensorImpl();
  impl->set_storage_keep_dtype(source.storage());
  impl->set_storage_offset(source.storage_offset());
  impl->set_sizes_and_strides(source.sizes(), source.strides());
  return self;
}

// CUDA takes indices of the CPU, and no other tensor of it but single numbers.
const std::set<std::string> INDEXING = {
    "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"};

// Any other operation: refused if its tensors lie on both devices, else the CPU's kernel on the same memory.
void by_the_cpu(const c10::OperatorHandle& operation, torch::jit::Stack* stack) {
  const auto& schema = operation.schema();
  const auto n_given = schema.arguments().size();
  const auto begin = stack->size() - n_given;
  const bool is_indexing = INDEXING.count(schema.name()) > 0;
  bool any_there = false, any_here = false;
  const auto look = [&](const at::Tensor& tensor, size_t number) {
    if (!tensor.defined()) return;
    if (is_there(tensor)) any_there = true;
    else if (tensor.dim() > 0 && !(is_indexing && number == 1)) any_here = true;
  };
  for (size_t number = 0; number < n_given; number++) {
    const auto& value = (*stack)[begin + number];
    if (value.isTensor()) look(value.toTensor(), number);
    else if (value.isTensorList())
      for (const at::Tensor& one : value.toTensorVector()) look(one, number);
    else if (value.isOptionalTensorList())
      for (const auto& one : value.toOptionalTensorVector())
        if (one) look(*one, number);
  }
  TORCH_CHECK(
      !(any_there && any_here),
      "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (",
      schema.name(), ")");
  std::vector<at::Tensor> given(n_given), passed(n_given);
  for (size_t number = 0; number < n_given; number++) {
    auto& value = (*stack)[begin + number];
    if (value.isTensor()) {
      const auto* alias = schema.arguments()[number].alias_info();
      given[number] = value.toTensor();
      const bool is_unsized = is_there(given[number]) && alias && alias->isWrite() && given[number].numel() == 0;
      passed[number] = is_unsized ? at::empty({0}, given[number].options().device(at::kCPU)) : here(given[number]);
      value = passed[number];
    } else if (value.isTensorList()) {
      std::vector<at::Tensor> all;
      for (const at::Tensor& one : value.toTensorVector()) all.push_back(here(one));
      value = c10::IValue(all);
    } else if (value.isOptionalTensorList()) {
      c10::List<Maybe<at::Tensor>> all;
      for (const auto& one : value.toOptionalTensorVector()) all.push_back(one ? Maybe<at::Tensor>(here(*one)) : one);
      value = c10::IValue(all);
    } else if (value.isDevice()) {
      value = c10::IValue(at::Device(at::kCPU));
    }
  }
  operation.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  const auto n_results = schema.returns().size();
  const auto first = stack->size() - n_results;
  for (size_t number = 0; number < n_results; number++) {
    auto& value = (*stack)[first + number];
    const auto* alias = schema.returns()[number].alias_info();
    TORCH_CHECK(!alias || alias->isWrite(), "the stand-in for a GPU knows no views by ", schema.name());
    if (value.isTensorList()) {
      std::vector<at::Tensor> all;
      for (const at::Tensor& one : value.toTensorVector()) all.push_back(there(one));
      value = c10::IValue(all);
    }
    if (!value.isTensor()) continue;
    if (!alias) {
      value = there(value.toTensor());
      continue;
    }
    for (size_t place = 0; place < n_given; place++) {
      const auto* written = schema.arguments()[place].alias_info();
      if (!written || !written->isWrite() || !(*written == *alias) || !given[place].defined()) continue;
      if (is_there(given[place]) && !given[place].sizes().equals(passed[place].sizes())) {
        resize_(given[place], c10::fromIntArrayRefSlow(passed[place].sizes()), {});
        here(given[place]).copy_(passed[place]);
      }
      value = given[place];
      break;
    }
  }
}

const auto BY_THE_CPU = [] { return torch::CppFunction::makeFromBoxedFunction<&by_the_cpu>(); };

}  // namespace

C10_REGISTER_GUARD_IMPL(CUDA, Guard);

namespace at {

struct CUDAHooks : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  bool isAvailable() const override { return true; }
};
REGISTER_CUDA_HOOKS(CUDAHooks)

// torch's own, found later, say that this build has none; the engine of gradients asks them.
namespace accelerator {
std::optional<c10::DeviceType> getAccelerator(bool) { return GPU; }
bool isAccelerator(c10::DeviceType type) { return type == GPU; }
}  // namespace accelerator

}  // namespace at

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(BY_THE_CPU()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("copy_", &copy_);
  library.impl("_copy_from", &copy_from);
  library.impl("resize_", &resize_);
  library.impl("as_strided", &as_strided);
  library.impl("view", &view);
  library.impl("_reshape_alias", &reshape_alias);
  library.impl("unfold", &unfold);
  library.impl("set_.source_Storage", &set_whole_storage);
  library.impl("set_.source_Storage_storage_offset", &set_storage);
  library.impl("set_.source_Tensor", &set_tensor);
  for (const auto* name : {"convolution", "convolution_backward", "_fused_sdp_choice"})
    library.impl(name, BY_THE_CPU());
}

extern "C" {
void stand_in_begin() { c10::SetAllocator(GPU, &memory, 100); }
int64_t stand_in_used() { return used; }
int64_t stand_in_peak() { return peak; }
void stand_in_reset_peak() { peak = used.load(); }
void stand_in_limit(int64_t bytes) { limit = bytes; }
}
