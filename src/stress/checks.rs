//! Checks of the command line that concern more than one option.

use onepoll::service::LARGEST_DATAGRAM;

use super::arguments::Words;
use super::payload::Payload;
use super::plan::Plan;
use super::request::Expected;

/// The largest message, which bounds what one connection can have in flight.
const LARGEST: usize = 16 * 1024 * 1024;
/// A chat line must have room for its identity.
const SHORTEST_LINE: usize = super::chat::HEADER + 1;
const GIB: u64 = 1024 * 1024 * 1024;
/// How much the connections may have to hold of messages that the server does not
/// read.
const MOST_HELD: u64 = 4 * GIB;

/// Checks what a scenario sends against its load.
///
/// # Errors
/// A sentence for the user.
pub fn check(words: &Words, plan: &Plan, udp: bool) -> Result<(), String> {
    let depth = plan.load.depth();
    match words {
        Words::Echo { size } | Words::Connect { size, .. } => {
            let largest = if udp { LARGEST_DATAGRAM } else { LARGEST };
            if *size == 0 || *size > largest {
                return Err(format!("--size must be from 1 to {largest} bytes"));
            }
            if depth as u64 > Payload::numbers(*size) / 2 {
                return Err(format!(
                    "messages of {size} B cannot be told apart at --depth {depth}: use at most {}",
                    Payload::numbers(*size) / 2
                ));
            }
        }
        Words::Request { send, expected, .. } => {
            if send.len() > if udp { LARGEST_DATAGRAM } else { LARGEST } {
                return Err("--send is too long".into());
            }
            if send.is_empty() && !udp {
                return Err("--send is empty: over TCP nothing would be sent".into());
            }
            match expected {
                Expected::Text(text) if text.is_empty() && !udp => {
                    return Err("--expect is empty: over TCP nothing would ever come".into());
                }
                _ if depth > 1 && !words.answers_have_an_end(udp) => {
                    return Err("--depth must be 1 unless --expect shows where an answer ends".into());
                }
                _ => {}
            }
        }
        Words::Chat { size, senders, .. } => {
            if *size < SHORTEST_LINE || *size > 32 * 1024 {
                return Err(format!("--size of a line must be from {SHORTEST_LINE} to 32768 bytes"));
            }
            if *senders > plan.connections {
                return Err(format!(
                    "{senders} senders do not fit among {} members: use fewer --senders or more --connections",
                    plan.connections
                ));
            }
            if plan.connections < 2 {
                return Err("a chat needs at least two members: use --connections 2 or more".into());
            }
            if senders.saturating_mul(plan.connections) > 64 * 1024 * 1024 {
                return Err("so many senders and members cannot be tracked: use fewer of either".into());
            }
        }
        Words::Silence => {}
    }
    check_memory(words, plan, udp)
}

/// What a connection was given and the server has not yet taken is held in
/// memory; over UDP nothing is.
fn check_memory(words: &Words, plan: &Plan, udp: bool) -> Result<(), String> {
    let (size, holders) = match words {
        Words::Echo { size } | Words::Connect { size, .. } => (*size, plan.connections),
        Words::Request { send, .. } => (send.len(), plan.connections),
        Words::Chat { size, senders, .. } => (*size, *senders),
        Words::Silence => return Ok(()),
    };
    let depth = plan.load.depth();
    let held = [size, holders, depth].iter().fold(1u64, |held, part| held.saturating_mul(*part as u64));
    if udp || held <= MOST_HELD {
        return Ok(());
    }
    let sending = if matches!(words, Words::Chat { .. }) { "senders" } else { "connections" };
    Err(format!(
        "--depth {depth} on each of {holders} {sending}, in messages of {size} B, is {:.1} GiB, all of which must \
         be held in memory if the server does not read, and the limit is 4 GiB: use a smaller --depth, fewer \
         {sending} or shorter messages",
        held as f64 / GIB as f64
    ))
}
