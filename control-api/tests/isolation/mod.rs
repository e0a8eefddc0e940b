//! What keeps the cards of these tests apart.

use cardhost_wire::launch::Isolation;

/// Processes where there are no microVMs, or if CARDHOST_TESTS_BACKEND says so.
pub fn isolation() -> Isolation {
    let kvm = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    match std::env::var("CARDHOST_TESTS_BACKEND").as_deref() {
        Ok("process") => Isolation::Process,
        Ok(_) => Isolation::MicroVm,
        Err(_) if kvm => Isolation::MicroVm,
        Err(_) => Isolation::Process,
    }
}
