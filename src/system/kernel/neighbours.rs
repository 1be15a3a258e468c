//! The kernel's table of neighbours, over rtnetlink(7), which lists it for IPv4 and IPv6.

use std::collections::HashSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const RTM_NEWNEIGH: u16 = 28;
const RTM_GETNEIGH: u16 = 30;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
/// The attribute that holds the address.
const NDA_DST: u16 = 1;
/// States of a neighbour that has not answered: NUD_INCOMPLETE and NUD_FAILED.
const UNANSWERED: u16 = 0x01 | 0x20;
/// The sizes of `nlmsghdr`, `ndmsg` and `rtattr`.
const HEADER: usize = 16;
const NEIGHBOUR: usize = 12;
const ATTRIBUTE: usize = 4;

/// The neighbours that have answered, or asked for us. The kernel has the answer ready
/// when the question is put, so nothing here waits.
pub(super) fn reached() -> io::Result<HashSet<IpAddr>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    send(socket.as_raw_fd(), &question(), MsgFlags::empty())?;
    let (mut reached, mut buffer) = (HashSet::new(), vec![0; 64 * 1024]);
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(length) if take(&buffer[..length], &mut reached) => {}
            Ok(_) => return Ok(reached),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn question() -> Vec<u8> {
    let mut question = ((HEADER + NEIGHBOUR) as u32).to_ne_bytes().to_vec();
    question.extend(RTM_GETNEIGH.to_ne_bytes());
    question.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    question.resize(HEADER + NEIGHBOUR, 0);
    question
}

/// Takes in some messages of the answer; false after the last.
fn take(mut messages: &[u8], reached: &mut HashSet<IpAddr>) -> bool {
    while let (Some(length), Some(kind)) = (u32_at(messages, 0), u16_at(messages, 4)) {
        let length = (length as usize).clamp(HEADER, messages.len().max(HEADER));
        let message = messages.get(HEADER..length).unwrap_or_default();
        match kind {
            NLMSG_DONE | NLMSG_ERROR => return false,
            RTM_NEWNEIGH => reached.extend(reached_neighbour(message)),
            _ => {}
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

/// The address of a neighbour, if it has answered.
fn reached_neighbour(message: &[u8]) -> Option<IpAddr> {
    let state = u16_at(message, 8)?;
    if state == 0 || state & UNANSWERED != 0 {
        return None;
    }
    let mut attributes = message.get(NEIGHBOUR..)?;
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let length = usize::from(length).max(ATTRIBUTE);
        let value = attributes.get(ATTRIBUTE..length)?;
        if kind == NDA_DST {
            let v4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
            return v4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok();
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn neighbour(state: u16, address: &[u8]) -> Vec<u8> {
        let mut message = vec![2, 0, 0, 0, 1, 0, 0, 0];
        message.extend(state.to_ne_bytes());
        message.extend([0, 1]);
        for (kind, value) in [(2u16, &[0xAA; 6][..]), (NDA_DST, address)] {
            message.extend(((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
            message.extend(kind.to_ne_bytes());
            message.extend(value);
            message.resize(message.len().next_multiple_of(4), 0);
        }
        let mut whole = ((HEADER + message.len()) as u32).to_ne_bytes().to_vec();
        whole.extend(RTM_NEWNEIGH.to_ne_bytes());
        whole.resize(HEADER, 0);
        whole.extend(message);
        whole
    }

    #[test]
    fn neighbours_that_have_not_answered_are_left_out() {
        let mut reached = HashSet::new();
        let states = [(0x02, 1), (0x04, 2), (0x01, 3), (0x20, 4), (0x80, 5), (0, 6)];
        let mut messages = states.map(|(state, last)| neighbour(state, &[192, 0, 2, last])).concat();
        messages.extend(neighbour(0x02, &[0xFE; 16]));
        assert!(take(&messages, &mut reached), "more may come");
        let v4 = [1, 2, 5].map(|last| IpAddr::from([192, 0, 2, last]));
        let expected: HashSet<IpAddr> = v4.into_iter().chain([IpAddr::from([0xFE; 16])]).collect();
        assert_eq!(reached, expected);
        let mut done = 20u32.to_ne_bytes().to_vec();
        done.extend(NLMSG_DONE.to_ne_bytes());
        done.resize(20, 0);
        assert!(!take(&done, &mut reached));
    }

    #[test]
    fn the_kernel_lists_its_neighbours() {
        reached().unwrap();
    }

    proptest! {
        #[test]
        fn no_answer_is_a_reason_to_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            take(&bytes, &mut HashSet::new());
        }
    }
}
