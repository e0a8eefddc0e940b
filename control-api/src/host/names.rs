//! The names under which the daemon is reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rcgen::SanType;

/// The URL for an address that was bound; a wildcard address is reached through loopback.
pub(super) fn url(bound: SocketAddr) -> String {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(ip, bound.port()))
}

/// Loopback, the host's name, and the address that is listened on.
pub(super) fn subject_alt_names(listen: IpAddr) -> Vec<SanType> {
    let mut names =
        vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into()), SanType::IpAddress(Ipv6Addr::LOCALHOST.into())];
    if !listen.is_unspecified() && !listen.is_loopback() {
        names.push(SanType::IpAddress(listen));
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.map(|name| name.trim().to_owned());
    let texts = ["localhost".to_owned()].into_iter().chain(host);
    names.extend(texts.filter_map(|name| name.try_into().ok().map(SanType::DnsName)));
    names
}
