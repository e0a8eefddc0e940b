//! A virtual machine of KVM: a vCPU in 64-bit ring 3, one memory slot, no interrupt controller.
//!
//! The vCPU never leaves ring 3: there is no descriptor table, no system call entry and no I/O privilege, so that
//! every privileged act and every fault of the guest ends the card and nothing else (Intel SDM volume 3, 5.5 and 6.15).

use std::ptr::NonNull;

use cardhost_wire::{
    boot::{HEAP_END, MEMORY_SIZE, MMIO_BASE, STACK_TOP},
    link::CrashCause,
};
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2, kvm_regs, kvm_segment, kvm_sregs,
    kvm_userspace_memory_region, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::{Kvm, SyncReg, VcpuExit, VcpuFd, VmFd};
use nix::time::ClockId;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::{Exit, Machine, MachineError};
use crate::{card::statistics::Meter, image::ROOT};

/// Protected mode, paging, monitor coprocessor, numeric error, write protect.
const CR0: u64 = 0x8005_0033;
/// PAE, OSFXSR, OSXMMEXCPT.
const CR4: u64 = 1 << 5 | 1 << 9 | 1 << 10;
const CR4_OSXSAVE: u64 = 1 << 18;
/// Long mode enabled and active, no-execute enabled, SYSCALL disabled.
const EFER: u64 = 1 << 8 | 1 << 10 | 1 << 11;
/// x87, SSE and AVX state.
const XCR0_AVX: u64 = 0b111;
/// Bit 1 is always set; interrupts off, I/O privilege level 0.
const RFLAGS: u64 = 0x2;
/// Extended state (Intel SDM volume 2, CPUID), with a sub-leaf for each component.
const XSAVE_LEAF: u32 = 0xD;
const XSAVE_AVX: u32 = 2;
const CPUID_XSAVE: u32 = 1 << 26;
const CPUID_AVX: u32 = 1 << 28;
/// Page fault (Intel SDM volume 3, 6.3.1).
const PAGE_FAULT: u8 = 14;

trait Asked<T> {
    fn asked(self, what: &'static str) -> Result<T, MachineError>;
}

impl<T> Asked<T> for Result<T, kvm_ioctls::Error> {
    fn asked(self, what: &'static str) -> Result<T, MachineError> {
        self.map_err(|source| MachineError::Kvm { what, source })
    }
}

/// What every card's machine is made from; gathered once because asking costs 0.3 ms.
pub struct Blueprint {
    cpuid: CpuId,
    sregs: kvm_sregs,
    xcr0: Option<u64>,
    /// A vCPU that stays: while one lives, making another is five times as fast.
    _kept: (VmFd, VcpuFd),
}

impl Blueprint {
    /// Asks KVM what this host offers.
    ///
    /// # Errors
    /// [`MachineError::Kvm`].
    pub fn gather(kvm: &Kvm) -> Result<Self, MachineError> {
        let offered = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).asked("KVM_GET_SUPPORTED_CPUID")?;
        let cpuid = needed(&offered);
        let vm = kvm.create_vm().asked("KVM_CREATE_VM")?;
        let vcpu = vm.create_vcpu(0).asked("KVM_CREATE_VCPU")?;
        let xcr0 = has_avx(&cpuid).then_some(XCR0_AVX);
        let sregs = ring3(vcpu.get_sregs().asked("KVM_GET_SREGS")?, xcr0.is_some());
        Ok(Self { cpuid, sregs, xcr0, _kept: (vm, vcpu) })
    }

    /// A vCPU before the first instruction of an image (`cardhost_wire::boot`).
    pub fn at_entry(&self, entry: u64) -> Registers {
        let general = kvm_regs {
            rip: entry,
            rsp: STACK_TOP,
            rdi: MMIO_BASE,
            rsi: HEAP_END,
            rflags: RFLAGS,
            ..Default::default()
        };
        Registers { general, system: self.sregs, extended: None }
    }
}

/// The leaves that the guest's libraries and KVM's checks of the registers look at: instructions, XSAVE, address
/// widths. Fewer are set faster, and a guest need not know the host.
fn needed(offered: &CpuId) -> CpuId {
    let is_needed = |leaf: &&kvm_cpuid_entry2| match leaf.function {
        0 | 1 | 7 | 0x8000_0000 | 0x8000_0001 | 0x8000_0008 => true,
        XSAVE_LEAF => leaf.index <= XSAVE_AVX,
        _ => false,
    };
    let leaves: Vec<_> = offered.as_slice().iter().filter(is_needed).copied().collect();
    CpuId::from_entries(&leaves).expect("no more than were offered")
}

fn has_avx(cpuid: &CpuId) -> bool {
    let wanted = CPUID_XSAVE | CPUID_AVX;
    cpuid.as_slice().iter().any(|leaf| leaf.function == 1 && leaf.ecx & wanted == wanted)
}

/// 64-bit ring 3 with paging on. TR keeps KVM's reset value: VMX rejects an unusable one.
fn ring3(reset: kvm_sregs, xsave: bool) -> kvm_sregs {
    let code = kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: 0x23,
        type_: 11,
        present: 1,
        dpl: 3,
        s: 1,
        l: 1,
        g: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: 0x1B, type_: 3, l: 0, db: 1, ..code };
    let cr4 = if xsave { CR4 | CR4_OSXSAVE } else { CR4 };
    let registers = kvm_sregs { cr0: CR0, cr3: ROOT, cr4, efer: EFER, cs: code, ss: data, ..reset };
    kvm_sregs { ds: data, es: data, fs: data, gs: data, ..registers }
}

/// Where a vCPU begins or goes on.
pub struct Registers {
    general: kvm_regs,
    system: kvm_sregs,
    /// x87, SSE and AVX registers; `None` as after reset.
    extended: Option<Box<kvm_xsave>>,
}

/// A machine whose vCPU is ready to run.
pub struct VirtualMachine {
    /// Declared first: dropped before the VM and its memory.
    vcpu: VcpuFd,
    memory: GuestMemoryMmap,
    _vm: VmFd,
}

impl VirtualMachine {
    /// Makes a machine in this process: KVM ties it to the address space, so it is made after the fork.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn new(
        kvm: &Kvm,
        blueprint: &Blueprint,
        memory: GuestMemoryMmap,
        registers: &Registers,
    ) -> Result<Self, MachineError> {
        let vm = kvm.create_vm().asked("KVM_CREATE_VM")?;
        insert(&vm, &memory)?;
        let mut vcpu = vm.create_vcpu(0).asked("KVM_CREATE_VCPU")?;
        vcpu.set_cpuid2(&blueprint.cpuid).asked("KVM_SET_CPUID2")?;
        set_xcr0(&vcpu, blueprint.xcr0)?;
        set_registers(&mut vcpu, registers)?;
        Ok(Self { vcpu, memory, _vm: vm })
    }

    fn interrupted(&mut self) -> Exit {
        self.vcpu.set_kvm_immediate_exit(0);
        Exit::Interrupted
    }

    /// A guest's exception that nobody handles shuts its processor down. KVM's event state names it where the
    /// processor was not reset meanwhile; elsewhere the vector is unknown.
    fn exception(&self) -> CrashCause {
        let events = self.vcpu.get_vcpu_events().map(|events| events.exception).unwrap_or_default();
        let vector = (events.injected != 0 || events.pending != 0 || events.nr != 0).then_some(events.nr);
        let address = match vector {
            Some(PAGE_FAULT) => self.vcpu.get_sregs().map_or(0, |registers| registers.cr2),
            _ => 0,
        };
        CrashCause::Exception { vector, error_code: events.error_code, address }
    }
}

impl Machine for VirtualMachine {
    type Registers = Registers;

    fn run(&mut self) -> Exit {
        match self.vcpu.run() {
            Ok(VcpuExit::MmioWrite(address, &[a, b, c, d])) => {
                Exit::Write { address, value: u32::from_le_bytes([a, b, c, d]) }
            }
            Ok(VcpuExit::MmioRead(address, _)) => Exit::Read { address },
            Ok(VcpuExit::Intr) => self.interrupted(),
            Ok(VcpuExit::Shutdown) => Exit::Crashed(self.exception()),
            Ok(other) => Exit::Crashed(CrashCause::UnexpectedExit(format!("{other:?}"))),
            Err(error) if error.errno() == libc::EINTR => self.interrupted(),
            Err(error) => Exit::Crashed(CrashCause::UnexpectedExit(format!("KVM_RUN: {error}"))),
        }
    }

    fn answer(&mut self, value: u32) {
        // Of longer reads the rest is zero.
        self.vcpu.get_kvm_run().__bindgen_anon_1.mmio.data = u64::from(value).to_le_bytes();
    }

    fn memory(&self) -> &GuestMemoryMmap {
        &self.memory
    }

    fn instruction_pointer(&mut self) -> u64 {
        self.vcpu.get_regs().map_or(0, |registers| registers.rip)
    }

    fn registers(&mut self) -> Result<Registers, MachineError> {
        // KVM finishes the exit's instruction at the next entry, here one that ends at once.
        self.vcpu.set_kvm_immediate_exit(1);
        let ended = self.vcpu.run().map(drop);
        self.vcpu.set_kvm_immediate_exit(0);
        match ended {
            Err(error) if error.errno() == libc::EINTR => {}
            other => other.asked("KVM_RUN with an immediate exit")?,
        }
        Ok(Registers {
            general: self.vcpu.get_regs().asked("KVM_GET_REGS")?,
            system: self.vcpu.get_sregs().asked("KVM_GET_SREGS")?,
            extended: Some(Box::new(self.vcpu.get_xsave().asked("KVM_GET_XSAVE")?)),
        })
    }

    /// The guest's time is that of the thread that runs it.
    fn clock(&self) -> ClockId {
        ClockId::CLOCK_THREAD_CPUTIME_ID
    }

    fn thread(&self) -> libc::pid_t {
        0
    }

    fn stop_byte(&mut self) -> NonNull<u8> {
        NonNull::from(&mut self.vcpu.get_kvm_run().immediate_exit)
    }

    fn meter(&self) -> std::io::Result<Meter> {
        Meter::of_mapping(&self.memory)
    }
}

fn insert(vm: &VmFd, memory: &GuestMemoryMmap) -> Result<(), MachineError> {
    let address = memory.get_host_address(GuestAddress(0)).expect("guest memory begins at 0");
    let slot = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: MEMORY_SIZE,
        userspace_addr: address as u64,
    };
    #[expect(unsafe_code, reason = "KVM maps the region into the guest")]
    // SAFETY: the region is a live mapping of MEMORY_SIZE bytes that `VirtualMachine` owns and unmaps only after the VM.
    // Rust references into it are never made: all access goes through vm-memory's volatile operations.
    unsafe { vm.set_user_memory_region(slot) }.asked("KVM_SET_USER_MEMORY_REGION")
}

fn set_xcr0(vcpu: &VcpuFd, xcr0: Option<u64>) -> Result<(), MachineError> {
    let Some(value) = xcr0 else { return Ok(()) };
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    xcrs.xcrs[0].value = value;
    vcpu.set_xcrs(&xcrs).asked("KVM_SET_XCRS")
}

/// Through the shared run page (KVM_CAP_SYNC_REGS), without a system call, but for the extended ones.
fn set_registers(vcpu: &mut VcpuFd, registers: &Registers) -> Result<(), MachineError> {
    if let Some(extended) = &registers.extended {
        #[expect(unsafe_code, reason = "KVM reads the area")]
        // SAFETY: no state beyond the 4 KiB of `kvm_xsave` was ever enabled for this process (no dynamic features).
        unsafe { vcpu.set_xsave(extended) }.asked("KVM_SET_XSAVE")?;
    }
    let shared = vcpu.sync_regs_mut();
    shared.sregs = registers.system;
    shared.regs = registers.general;
    vcpu.set_sync_dirty_reg(SyncReg::SystemRegister);
    vcpu.set_sync_dirty_reg(SyncReg::Register);
    Ok(())
}
