//! The smallest virtual machine that leaves ring 3 by a write to a device: ioctls on `/dev/kvm`.
#![expect(unsafe_code, reason = "raw system calls are what is measured")]

use std::{
    fs::{File, OpenOptions},
    io::{Error, Result},
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr::{NonNull, null_mut},
};

use kvm_bindings::{kvm_regs, kvm_run, kvm_segment, kvm_sregs, kvm_userspace_memory_region};
use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE};

/// Numbers of `linux/kvm.h`.
const KVM_CREATE_VM: u64 = 0xAE01;
const KVM_GET_VCPU_MMAP_SIZE: u64 = 0xAE04;
const KVM_CREATE_VCPU: u64 = 0xAE41;
const KVM_SET_USER_MEMORY_REGION: u64 = 0x4020_AE46;
const KVM_RUN: u64 = 0xAE80;
const KVM_SET_REGS: u64 = 0x4090_AE82;
const KVM_GET_SREGS: u64 = 0x8138_AE83;
const KVM_SET_SREGS: u64 = 0x4138_AE84;
const KVM_EXIT_MMIO: u32 = 6;

const MEMORY: usize = 4 << 20;
const CODE: u64 = 0x10000;
const DEVICE: u64 = 0xD000_0000;
/// `mov [rdi], eax; jmp` back to it.
const PROGRAM: [u8; 4] = [0x89, 0x07, 0xEB, 0xFC];
/// Present, writable, user; accessed and dirty.
const MAPPED: u64 = 0x67;

/// An open `/dev/kvm`.
pub struct Kvm(File);

impl Kvm {
    /// Opens it.
    pub fn open() -> Result<Self> {
        OpenOptions::new().read(true).write(true).open("/dev/kvm").map(Self)
    }

    /// Makes a machine with one vCPU and one memory slot.
    pub fn machine(&self) -> Result<Machine> {
        let vm = descriptor(ioctl(&self.0, KVM_CREATE_VM, 0)?);
        let vcpu = descriptor(ioctl(&vm, KVM_CREATE_VCPU, 0)?);
        let size = ioctl(&self.0, KVM_GET_VCPU_MMAP_SIZE, 0)? as usize;
        let run = map(size, MAP_SHARED, vcpu.as_raw_fd())?;
        let memory = map(MEMORY, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1)?;
        let machine = Machine { vcpu, vm, run, memory };
        machine.load();
        machine.set_up()?;
        Ok(machine)
    }
}

impl AsRawFd for Kvm {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A machine whose every run is one exit.
pub struct Machine {
    vcpu: OwnedFd,
    vm: OwnedFd,
    run: Mapping,
    memory: Mapping,
}

impl Machine {
    /// Runs to the next write to the device.
    pub fn exit(&self) -> Result<()> {
        ioctl(&self.vcpu, KVM_RUN, 0)?;
        // SAFETY: the run page is mapped for at least a kvm_run and the vCPU is stopped.
        let reason = unsafe { (*self.run.start.as_ptr().cast::<kvm_run>()).exit_reason };
        if reason == KVM_EXIT_MMIO { Ok(()) } else { Err(Error::other(format!("KVM exit {reason}"))) }
    }

    /// Page tables for the code page and the device, and the program.
    fn load(&self) {
        self.write(0x1000, &(0x2000 | MAPPED).to_le_bytes());
        self.write(0x2000, &(0x3000 | MAPPED).to_le_bytes());
        self.write(0x2000 + (DEVICE >> 30) * 8, &(0x4000 | MAPPED).to_le_bytes());
        self.write(0x3000, &(0x5000 | MAPPED).to_le_bytes());
        self.write(0x4000 + (DEVICE >> 21 & 511) * 8, &(0x6000 | MAPPED).to_le_bytes());
        self.write(0x5000 + (CODE >> 12) * 8, &(CODE | MAPPED).to_le_bytes());
        self.write(0x6000, &(DEVICE | MAPPED).to_le_bytes());
        self.write(CODE, &PROGRAM);
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        assert!(at as usize + bytes.len() <= MEMORY);
        // SAFETY: the range lies within the mapping, and the vCPU does not run.
        unsafe { self.memory.start.as_ptr().add(at as usize).copy_from(bytes.as_ptr(), bytes.len()) };
    }

    fn set_up(&self) -> Result<()> {
        let slot = kvm_userspace_memory_region {
            memory_size: MEMORY as u64,
            userspace_addr: self.memory.start.as_ptr() as u64,
            ..Default::default()
        };
        ioctl(&self.vm, KVM_SET_USER_MEMORY_REGION, &raw const slot as u64)?;
        let mut reset = kvm_sregs::default();
        ioctl(&self.vcpu, KVM_GET_SREGS, &raw mut reset as u64)?;
        let system = ring3(reset);
        ioctl(&self.vcpu, KVM_SET_SREGS, &raw const system as u64)?;
        let registers = kvm_regs { rip: CODE, rdi: DEVICE, rflags: 2, ..Default::default() };
        ioctl(&self.vcpu, KVM_SET_REGS, &raw const registers as u64).map(drop)
    }
}

/// 64-bit code in ring 3 with paging.
fn ring3(reset: kvm_sregs) -> kvm_sregs {
    let (present, dpl, s, g) = (1, 3, 1, 1);
    let code = kvm_segment {
        limit: u32::MAX,
        selector: 0x23,
        type_: 11,
        present,
        dpl,
        s,
        g,
        l: 1,
        ..Default::default()
    };
    let data = kvm_segment { selector: 0x1B, type_: 3, l: 0, db: 1, ..code };
    let system = kvm_sregs { cr0: 0x8005_0033, cr3: 0x1000, cr4: 0x620, efer: 0xD00, ..reset };
    kvm_sregs { cs: code, ss: data, ds: data, es: data, fs: data, gs: data, ..system }
}

/// Mapped memory, unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping's only owner; fields are dropped after the machine's last use.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

fn map(length: usize, flags: i32, descriptor: i32) -> Result<Mapping> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let start = unsafe { libc::mmap(null_mut(), length, PROT_READ | PROT_WRITE, flags, descriptor, 0) };
    if start == MAP_FAILED {
        return Err(Error::last_os_error());
    }
    let start = NonNull::new(start.cast()).expect("the kernel does not choose address 0");
    Ok(Mapping { start, length })
}

fn ioctl(descriptor: &impl AsRawFd, request: u64, argument: u64) -> Result<i32> {
    // SAFETY: every caller passes the argument that its request takes: a number, or a live structure's address.
    match unsafe { libc::ioctl(descriptor.as_raw_fd(), request, argument) } {
        -1 => Err(Error::last_os_error()),
        value => Ok(value),
    }
}

fn descriptor(number: i32) -> OwnedFd {
    // SAFETY: the ioctl that returned the number made the descriptor for us alone.
    unsafe { OwnedFd::from_raw_fd(number) }
}
