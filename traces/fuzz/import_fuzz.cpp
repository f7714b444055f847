// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// libFuzzer's target for the importers. The low 4 bits of the first byte choose the format, in the
// order of import_formats(), or that it is to be found; bit 4 is leniency; bits 5 and 6 choose
// options. The rest is the input.

#include "nestwalk/traces/importer.hpp"

namespace nestwalk::traces {
namespace {

struct Variant {
  std::string_view format;
  unsigned number;
  const char* option;
};
constexpr Variant kVariants[] = {
    {"pin", 1, "columns=-,thread,ip,op,address,size"},
    {"perf", 1, "columns=addr,data_src,phys_addr"},
    {"perf", 2, "columns=addr,phys_addr"},
    {"perf", 2, "kind=read"},
    {"dynamorio", 1, "streams=threads"},
    {"din", 1, "addresses=physical"},
    {"csv", 1, "ignore=a,b"},
    {"gem5", 1, "reads=1,22,24"},
    {"kvm", 1, "vcpus=threads"},
};

ImportRequest request_for(u8 choice) {
  ImportRequest request;
  const auto formats = import_formats();
  if ((choice & 15u) < formats.size()) request.format = formats[choice & 15];
  request.lenient = (choice & 16) != 0;
  for (const Variant& variant : kVariants) {
    if (request.format != nullptr && variant.format == request.format->name &&
        variant.number == (choice >> 5 & 3u)) {
      request.options.emplace_back(variant.option);
    }
  }
  request.inputs = {"input"};
  return request;
}

}  // namespace
}  // namespace nestwalk::traces

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace nestwalk::traces;
  if (size == 0) return 0;
  ImportRequest request = request_for(data[0]);
  request.open = [&](const std::string& name) {
    return unpacked(std::make_unique<MemorySource>(std::span(data + 1, size - 1), name));
  };
  MemorySink sink;
  try {
    import_trace(request, sink);
  } catch (const InputError&) {   // Input that makes no sense.
  } catch (const RecordError&) {  // An input that is found to be in a format needs its options.
  }
  return 0;
}
