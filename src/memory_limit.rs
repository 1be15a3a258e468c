//! How much memory the daemon may let its peers take, where the file leaves that open.

use std::fs;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use onepoll::service::Lane;

use crate::heap::ARENAS;

/// Address space that an arena of the allocator reserves, except for the first (glibc's
/// HEAP_MAX_SIZE).
const ARENA: u64 = 64 << 20;
/// The stack of a thread, as Rust makes it.
const STACK: u64 = 2 << 20;
/// Less than this would turn honest clients away.
const LEAST: u64 = 8 << 20;

/// Half of the memory that the process can have: of the machine's, of its control
/// group's, or of its address space less what threads reserve of it, whichever is least.
pub fn automatic() -> usize {
    let limits = [machine(), control_group(), address_space()];
    let least = limits.into_iter().flatten().min().unwrap_or(u64::MAX);
    usize::try_from((least / 2).max(LEAST)).unwrap_or(usize::MAX)
}

/// What is left of RLIMIT_AS.
fn address_space() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_AS).ok()?;
    // RLIM_INFINITY is the largest number there is.
    (soft < u64::MAX / 2).then(|| {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let taken = kibibytes(&status, "VmSize:").unwrap_or(0);
        soft.saturating_sub(taken + reserved_by_threads())
    })
}

/// The address space that threads may come to reserve.
fn reserved_by_threads() -> u64 {
    (ARENAS - 1) * ARENA + threads() * STACK
}

/// The most threads besides the loop's: those of the lanes, and the one that writes the
/// log.
fn threads() -> u64 {
    Lane::ALL.iter().map(|lane| lane.threads() as u64).sum::<u64>() + 1
}

fn machine() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")
}

/// The limit of the control group that the process is in, or of one around it
/// (cgroups(7): version 2, and the memory controller of version 1).
fn control_group() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().filter_map(|line| limit_of_group(Path::new("/sys/fs/cgroup"), line)).min()
}

/// The least limit on the way from a group, a line of /proc/self/cgroup, to the root.
fn limit_of_group(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':');
    let (controllers, path) = (fields.nth(1)?, fields.next()?);
    let (root, file) = match controllers {
        "" => (root.to_owned(), "memory.max"),
        "memory" => (root.join("memory"), "memory.limit_in_bytes"),
        _ => return None,
    };
    let group = root.join(path.trim_start_matches('/'));
    let limit = |group: &Path| fs::read_to_string(group.join(file)).ok()?.trim().parse().ok();
    group.ancestors().take_while(|group| group.starts_with(&root)).filter_map(limit).min()
}

/// A line such as `MemTotal:  1024 kB` of a file under /proc, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_half_of_the_machine_at_most() {
        let machine = machine().unwrap();
        assert!(machine > 1 << 28, "{machine}");
        assert!(automatic() as u64 <= machine / 2);
        assert!(automatic() as u64 >= LEAST);
    }

    #[test]
    fn threads_leave_most_of_a_small_address_space_to_clients() {
        assert!(reserved_by_threads() < 256 << 20, "{}", reserved_by_threads());
    }

    #[test]
    fn a_group_has_the_least_limit_of_those_around_it() {
        let root = std::env::temp_dir().join(format!("onepoll-groups-{}", std::process::id()));
        let inner = root.join("class/lab");
        fs::create_dir_all(&inner).unwrap();
        fs::write(root.join("class/memory.max"), "300000000\n").unwrap();
        fs::write(inner.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit_of_group(&root, "0::/class/lab"), Some(300_000_000));
        fs::write(inner.join("memory.max"), "200000000\n").unwrap();
        assert_eq!(limit_of_group(&root, "0::/class/lab"), Some(200_000_000));
        assert_eq!(limit_of_group(&root, "3:cpu:/class/lab"), None);
        assert_eq!(limit_of_group(&root, "0::/elsewhere"), None);
        fs::remove_dir_all(root).unwrap();
    }
}
