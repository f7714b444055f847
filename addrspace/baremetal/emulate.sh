# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

# Sourced: how each emulator is started. The emulators are third parties' (Debian packages), and so
# judges.

skip() {
  echo "SKIPPED: $1 (scripts/install-dependencies installs it)"
  exit 77
}

declare -A emulators=([riscv64]=qemu-system-riscv64 [aarch64]=qemu-system-aarch64 [x86_64-vmx]=bochs
  [x86_64-svm]=qemu-system-x86_64)

need_emulator() {
  command -v "${emulators[$1]}" >/dev/null || skip "there is no ${emulators[$1]} on this machine"
}

# emulate <machine> <folder with the payload> [<file that is its RAM, or Bochs' ROM>]
# Prints what the payload prints; the status is the payload's, or 124 when it did not end.
emulate() {
  local machine=$1 work=$2 memory=${3:-} ram=()
  [[ -z $memory || $machine == x86_64-* ]] ||
    ram=(-machine memory-backend=ram
      -object "memory-backend-file,id=ram,size=256M,mem-path=$memory,share=on")
  # No network card: its ROM is in a package of its own.
  local common=(-m 256M -nographic -nic none -monitor none -serial stdio
    -kernel "$work/payload.elf" "${ram[@]}")
  case $machine in
    riscv64)
      timeout "$seconds" qemu-system-riscv64 -machine virt -cpu rv64,h=true,svnapot=true -bios none \
        "${common[@]}" </dev/null
      ;;
    x86_64-vmx)
      # Debian's Bochs has its debugger in: c goes on, to the payload's end; q quits, with status 0.
      printf 'c\nq\n' >"$work/bochs.commands"
      head -c 512 /dev/zero >"$work/vga.rom"
      { cat "$here/x86_64/vmx/bochsrc"
        echo "romimage: file=${memory:-$work/payload.rom}"
        echo "vgaromimage: file=$work/vga.rom"
        echo "log: $work/bochs.log"; } >"$work/bochsrc"
      TERM=dumb timeout "$seconds" bochs -q -f "$work/bochsrc" -rc "$work/bochs.commands" \
        </dev/null 2>"$work/bochs.errors" |
        sed -E 's/^(<bochs:[0-9]+> )*//; /^=+$/,/^=+$/d; /^\(0\)/d; /^Next at t=/d'
      return "${PIPESTATUS[0]}"
      ;;
    x86_64-svm)
      # Its processor has features that QEMU's TCG lacks, and says so.
      local status=0
      timeout "$seconds" qemu-system-x86_64 -accel tcg -machine pc -cpu EPYC,+svm,+npt -smp 2 -m 256M \
        -nodefaults -display none -no-reboot -bios "${memory:-$work/payload.rom}" \
        -debugcon stdio -device isa-debug-exit,iobase=0xf4,iosize=1 \
        </dev/null 2>"$work/qemu.errors" || status=$?
      [[ $status -ne 33 ]] || return 0  # isa-debug-exit: twice 0x10 and 1
      cat "$work/qemu.errors" >&2
      return $((status == 0 ? 1 : status))
      ;;
    aarch64)
      timeout "$seconds" qemu-system-aarch64 -machine virt,virtualization=on -cpu "${cpu:-max}" \
        -smp 2 -semihosting-config enable=on,target=native "${common[@]}" </dev/null
      ;;
  esac
}
seconds=60
here=$(dirname "${BASH_SOURCE[0]}")

# emulator_version <machine> <folder where it ran>: the first two numbers.
emulator_version() {
  local number='s/.*(emulator version|x86 Emulator) ([0-9]+\.[0-9]+).*/\2/p'
  case $1 in
    x86_64-vmx) sed -nE "$number" "$2/bochs.log" | head -n 1 ;;  # it says so only when it runs
    *) "${emulators[$1]}" --version | sed -nE "$number" | head -n 1 ;;
  esac
}
