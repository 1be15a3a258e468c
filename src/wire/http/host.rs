//! Whether a request means this server. A page elsewhere can make its own name point to
//! 127.0.0.1 and then read what a server on this machine answers (DNS rebinding). The
//! `Host` header gives it away, since it carries that name.

use std::net::{IpAddr, Ipv6Addr};

/// Whether a host names this server: an IP address, `localhost` or a name under it, or
/// one of the `configured` names. The port does not matter, and neither does case.
pub fn is_ours(host: &str, configured: &[String]) -> bool {
    let Some(name) = without_port(host) else { return false };
    if let Some(address) = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_ipv4())
        || configured.iter().any(|ours| ours.eq_ignore_ascii_case(&name))
}

/// Whether a text is a host and, perhaps, a port. An empty host is none.
pub(super) fn is_well_formed(host: &str) -> bool {
    let is_name = |name: &str| {
        let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        let plain = |byte: u8| allowed(byte) && byte != b':';
        match inner {
            Some(address) => !address.is_empty() && address.bytes().all(allowed),
            None => !name.is_empty() && name.bytes().all(plain),
        }
    };
    without_port(host).is_some_and(is_name)
}

fn without_port(host: &str) -> Option<&str> {
    let end = match host.rfind(']') {
        Some(bracket) => bracket + 1,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(end);
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(is_port)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_localhost_and_configured_names_are_ours() {
        let configured = ["lab.school.kr".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:8000",
            "192.168.0.7:80",
            "[::1]",
            "[fe80::1]:8000",
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "page.localhost:1",
            "Lab.School.KR:8000",
            "localhost:",
        ] {
            assert!(is_well_formed(host), "{host}");
            assert!(is_ours(host, &configured), "{host}");
        }
    }

    #[test]
    fn any_other_name_is_not() {
        for host in
            ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "school.kr", "[evil]"]
        {
            assert!(is_well_formed(host), "{host}");
            assert!(!is_ours(host, &["lab.school.kr".into()]), "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_told_apart() {
        for host in ["", ":80", "a b", "a:b", "a:1:2", "[::1", "::1", "a/b", "me@a", "[]", "[::1]x", "안녕"]
        {
            assert!(!is_well_formed(host), "{host}");
            assert!(!is_ours(host, &[]), "{host}");
        }
    }
}
