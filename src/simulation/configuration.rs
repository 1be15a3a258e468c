//! What the daemon of a run is configured to do.

use crate::config::Description;
use crate::system::simulated::Rng;

/// A second chat for noise, since the first one is checked.
pub(super) const NOISY_CHAT: u16 = 9_998;
const SECOND: u64 = 1_000_000;

/// A world in which half of the clients chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Crowd {
    Quiet,
    /// Many of them shout, and their room fills up.
    Loud,
}

/// One world in ten is crowded.
pub(super) const CROWDS: [Option<Crowd>; 20] = {
    let mut crowds = [None; 20];
    crowds[0] = Some(Crowd::Quiet);
    crowds[1] = Some(Crowd::Loud);
    crowds
};

/// A configuration with every service, as TOML; its drain timeout, and whether its chats
/// throttle their members.
pub(super) fn configuration(
    catalog: &[&'static Description],
    rng: &mut Rng,
    crowd: Option<Crowd>,
) -> (String, u64, bool) {
    let drain = rng.between(1, 5) as u64;
    let throttled = crowd.is_none() && rng.chance(300);
    let mut text = format!(
        "[limits]\nidle_timeout = \"{}\"\nmessage_timeout = \"{}\"\nsend_timeout = \"{}\"\n\
         line_length = {}\noutput_limit = {}\ndrain_timeout = \"{drain}s\"\n\
         connections = {}\n{}",
        rng.pick(&["3s", "30m", "0"]),
        rng.pick(&["2s", "10s", "0"]),
        rng.pick(&["2s", "60s", "0"]),
        if crowd == Some(Crowd::Loud) { &65_536 } else { rng.pick(&[64, 1_024, 65_536]) },
        rng.pick(&[1_000, 65_536, 1_048_576]),
        rng.pick(&[0, 0, 5]),
        rng.pick(&["connections_per_peer = 0\n", "", "connections_per_peer = 3\n"]),
    );
    text += &format!("messages_per_second = {}\n", if throttled { rng.between(1, 20) } else { 0 });
    text += &format!("[services.noise]\nkind = \"chat\"\ntcp = {NOISY_CHAT}\n");
    for kind in catalog {
        text += &format!("[services.{}]\n", kind.name);
        for (key, port) in [("tcp", kind.tcp), ("udp", kind.udp)] {
            text += &port.map_or(String::new(), |port| format!("{key} = {port}\n"));
        }
        text += match kind.name {
            "echo" => "end_command = \"\"\n",
            // A client may send just when its connection has been kept for long enough.
            "web" => "keep_alive = 0\n",
            "upper" => "keep_open = true\n",
            // A test picture would be drawn for hours of virtual time.
            "video" => "source = \"publish\"\n",
            "tftp" if rng.chance(300) => "writable = true\nsingle_port = true\n",
            "tftp" => "writable = true\n",
            "chat" if rng.chance(333) => "members = \"none\"\n",
            "chat" => "members = \"any\"\n",
            _ => "",
        };
    }
    (text, drain * SECOND, throttled)
}
