// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

#include "calibration/this_machine.hpp"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>

namespace nestwalk::sim {
namespace {

namespace fs = std::filesystem;

using addrspace::kGiB;
using addrspace::kKiB;
using addrspace::u32;

std::string first_line(const std::string& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}

std::map<std::string, std::string> cpu_info(const std::string& root) {
  std::ifstream in(root + "/proc/cpuinfo");
  std::map<std::string, std::string> info;
  for (std::string line; std::getline(in, line) && !line.empty();) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::size_t end = line.find_last_not_of(" \t", colon - 1);
    info[line.substr(0, end + 1)] = line.substr(std::min(line.size(), colon + 2));
  }
  return info;
}

bool has_word(const std::string& text, const std::string& wanted) {
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    if (word == wanted) return true;
  }
  return false;
}

u64 number_in(const std::map<std::string, std::string>& info, const char* key) {
  const auto found = info.find(key);
  return found == info.end() ? 0 : std::strtoull(found->second.c_str(), nullptr, 10);
}

std::vector<KnownCache> known_caches(const std::string& root) {
  std::vector<KnownCache> caches;
  for (int n = 0; n < 8; ++n) {
    const std::string folder =
        root + "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(n) + "/";
    const auto read = [&](const char* name) { return first_line(folder + name); };
    const std::string level = read("level"), type = read("type");
    if (level.empty() || type == "Instruction") continue;
    KnownCache cache{"l" + level + (type == "Data" ? "d" : ""),
                     std::strtoull(read("number_of_sets").c_str(), nullptr, 10),
                     std::strtoull(read("ways_of_associativity").c_str(), nullptr, 10)};
    if (cache.sets != 0 && cache.ways != 0) caches.push_back(std::move(cache));
  }
  return caches;
}

// By a leaf of CPUID that is the hypervisor's.
std::string hypervisor_of_cpuid() {
#if defined(__x86_64__)
  u32 a = 0x40000000, words[3] = {0, 0, 0};
  asm volatile("cpuid" : "+a"(a), "=b"(words[0]), "+c"(words[1]), "=d"(words[2]));
  char name[sizeof words + 1] = {};
  std::memcpy(name, words, sizeof words);
  return printable(name);
#else
  return {};
#endif
}

// What firmware of VMs calls itself; empty if this is none of them.
std::string hypervisor_of_firmware(const std::string& root) {
  const std::string vendor = first_line(root + "/sys/class/dmi/id/sys_vendor");
  const std::string product = first_line(root + "/sys/class/dmi/id/product_name");
  // Instances of Amazon's without a hypervisor have its name, too.
  if (vendor == "Amazon EC2" && product.find(".metal") != product.npos) return {};
  for (const char* const word : {"QEMU", "KVM", "Xen", "VMware", "VirtualBox", "Virtual Machine",
                                 "Parallels", "BHYVE", "Bochs", "OpenStack", "KubeVirt",
                                 "Apple Virtualization", "Amazon EC2", "Google Compute Engine"}) {
    for (const std::string& text : {vendor, product}) {
      if (text.find(word) != text.npos) return printable(text);
    }
  }
  return {};
}

// Only x86 has a flag for it. Elsewhere, what hypervisors show their guests.
void find_environment(MeasuredMachine& machine, const std::map<std::string, std::string>& info,
                      const std::string& root) {
  if (const auto flags = info.find("flags"); flags != info.end()) {
    machine.is_virtual = has_word(flags->second, "hypervisor");
    if (machine.is_virtual) machine.hypervisor = hypervisor_of_cpuid();
    return;
  }
  machine.hypervisor = first_line(root + "/sys/hypervisor/type");
  std::error_code none;
  if (const std::string node = root + "/proc/device-tree/hypervisor";
      machine.hypervisor.empty() && fs::exists(node, none)) {
    machine.hypervisor = first_line(node + "/compatible").c_str();  // up to the first 0
    if (machine.hypervisor.empty()) machine.hypervisor = "hypervisor of the device tree";
  }
  if (machine.hypervisor.empty()) machine.hypervisor = hypervisor_of_firmware(root);
  machine.is_virtual = !machine.hypervisor.empty();
  if (!machine.is_virtual) machine.notes.emplace_back(kUnknownEnvironment);
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

// What a line "NAME NUMBER" of a file says.
std::optional<u64> number_after(const std::string& file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with(name)) return std::strtoull(line.c_str() + name.size(), nullptr, 10);
  }
  return std::nullopt;
}

// Pages of files that were not used lately are given up before the limit is.
std::optional<u64> left_in_group(const std::string& folder) {
  const std::string most = first_line(folder + "/memory.max");
  if (most.empty() || most == "max") return std::nullopt;
  const u64 limit = std::strtoull(most.c_str(), nullptr, 10);
  const u64 used = std::strtoull(first_line(folder + "/memory.current").c_str(), nullptr, 10);
  const u64 files = number_after(folder + "/memory.stat", "inactive_file ").value_or(0);
  const u64 taken = used - std::min(used, files);
  return limit - std::min(limit, taken);
}

}  // namespace

u64 available_bytes(const std::string& root) {
  u64 bytes = number_after(root + "/proc/meminfo", "MemAvailable:").value_or(kGiB / kKiB) * kKiB;
  // In a container its group is the root; else it and all above it count.
  const std::string groups = root + "/sys/fs/cgroup";
  std::ifstream in(root + "/proc/self/cgroup");
  fs::path own = "/";
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("0::/")) own = line.substr(3);
  }
  for (;; own = own.parent_path()) {
    bytes = std::min(bytes, left_in_group(groups + own.string()).value_or(bytes));
    if (own == own.parent_path()) return bytes;
  }
}

MeasuredMachine this_machine(const std::string& root) {
  const std::map<std::string, std::string> info = cpu_info(root);
  const auto text = [&](const char* key) {
    const auto found = info.find(key);
    return found == info.end() ? std::string() : found->second;
  };
  MeasuredMachine machine;
  machine.cpu = text("model name");
  machine.vendor = text("vendor_id");
  machine.family = number_in(info, "cpu family");
  machine.model = number_in(info, "model");
  find_environment(machine, info, root);
  machine.caches = known_caches(root);
  machine.date = today();
  machine.load = first_line(root + "/proc/loadavg");
  return machine;
}

}  // namespace nestwalk::sim
