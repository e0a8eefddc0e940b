//! What cards' machines are made from: prepared once by the launcher, used by every card's process.

use std::{
    fs::File,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd},
    sync::Arc,
};

use cardhost_wire::launch::Isolation;
use kvm_ioctls::Kvm;

use super::LauncherError;
use crate::{
    card::{
        machine::{
            Machine, MachineError,
            kvm::{self, Blueprint, VirtualMachine},
            process::{self, GuestProcess, ProcessError, Source, Springboard},
        },
        memory::View,
        template::Template,
        working_set::WorkingSet,
    },
    image::{Image, Pages},
};

/// One of the two ways to run a guest.
pub enum Backend {
    /// Virtual machines.
    Kvm(Box<VirtualMachines>),
    /// Processes.
    Process(Box<GuestProcesses>),
}

impl Backend {
    /// Runs the image once, in the way that is asked for.
    ///
    /// # Errors
    /// The reason why cards cannot run here in this way.
    pub fn prepare(isolation: Isolation, image: &Image) -> Result<Self, LauncherError> {
        Ok(match isolation {
            Isolation::MicroVm => Self::Kvm(Box::new(VirtualMachines::prepare(image)?)),
            Isolation::Process => Self::Process(Box::new(GuestProcesses::prepare(image)?)),
        })
    }

    /// Which of the two it is.
    pub const fn isolation(&self) -> Isolation {
        match self {
            Self::Kvm(_) => Isolation::MicroVm,
            Self::Process(_) => Isolation::Process,
        }
    }

    /// The descriptor that a card's process makes its machine from.
    pub fn descriptor(&self) -> RawFd {
        match self {
            Self::Kvm(machines) => machines.kvm.as_raw_fd(),
            Self::Process(processes) => processes.template.memory.as_raw_fd(),
        }
    }
}

/// Virtual machines over copies of a template.
pub struct VirtualMachines {
    kvm: Kvm,
    blueprint: Blueprint,
    /// What each starts from.
    pub template: Template<kvm::Registers>,
    /// The template as every card has it by the fork. The launcher never writes to it.
    view: View,
    working_set: WorkingSet,
}

impl VirtualMachines {
    fn prepare(image: &Image) -> Result<Self, LauncherError> {
        let kvm = open_kvm()?;
        let blueprint = Blueprint::gather(&kvm)?;
        let template = Self::template(&kvm, &blueprint, image)?;
        let working_set = WorkingSet::rehearse(&kvm, &blueprint, &template)?;
        let view = View::of(&template.memory, &template.large_pages)?;
        Ok(Self { kvm, blueprint, template, view, working_set })
    }

    /// Runs the image in a view that nothing is left of.
    fn template(
        kvm: &Kvm,
        blueprint: &Blueprint,
        image: &Image,
    ) -> Result<Template<kvm::Registers>, LauncherError> {
        let view = View::of(&image.memory, &image.large_pages)?;
        let registers = blueprint.at_entry(image.entry);
        let machine = VirtualMachine::new(kvm, blueprint, view.memory(), &registers)?;
        Ok(Template::prepare(machine, image)?)
    }

    /// The machine of the calling process, a card's, which has `kvm` for this alone.
    ///
    /// # Errors
    /// KVM refuses it.
    #[expect(unsafe_code, reason = "takes over the descriptor")]
    pub fn machine(&self, kvm: OwnedFd) -> Result<VirtualMachine, MachineError> {
        // SAFETY: a copy of the launcher's descriptor of `/dev/kvm`, which this value owns from here on.
        let kvm = unsafe { Kvm::from_raw_fd(kvm.into_raw_fd()) };
        let machine =
            VirtualMachine::new(&kvm, &self.blueprint, self.view.memory(), &self.template.registers)?;
        self.working_set.populate(machine.memory());
        Ok(machine)
    }
}

/// Guest processes over copies of a template.
pub struct GuestProcesses {
    springboard: Springboard,
    map: Vec<Pages>,
    /// What each starts from.
    pub template: Template<process::Registers>,
}

impl GuestProcesses {
    fn prepare(image: &Image) -> Result<Self, LauncherError> {
        let springboard = Springboard::map().map_err(MachineError::from)?;
        let contents = image.memory.try_clone().map_err(|error| MachineError::Process(error.into()))?;
        let source = Source { contents: Arc::new(contents), map: &image.map };
        let entry = process::Registers::Entry(image.entry);
        let machine = GuestProcess::new(&source, &springboard, &entry, None).map_err(MachineError::from)?;
        let template = Template::prepare(machine, image)?;
        Ok(Self { springboard, map: image.map.clone(), template })
    }

    /// The machine of the calling process, a card's, which has the template's `memory` for this alone; its guest
    /// becomes `user`.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn machine(&self, memory: OwnedFd, user: Option<u32>) -> Result<GuestProcess, ProcessError> {
        let source = Source { contents: Arc::new(File::from(memory)), map: &self.map };
        GuestProcess::new(&source, &self.springboard, &self.template.registers, user)
    }
}

/// Opens `/dev/kvm`.
///
/// # Errors
/// The reason why it cannot be used.
pub fn open_kvm() -> Result<Kvm, LauncherError> {
    Kvm::new().map_err(|error| match error.errno() {
        libc::EACCES | libc::EPERM => LauncherError::KvmAccess,
        _ => LauncherError::Kvm(error),
    })
}
