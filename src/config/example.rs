//! `config example`: a file with every key at its default, put together from
//! what limits, socket options and services say about themselves.

use super::description::{Description, Key, Value};
use super::limits::LIMITS;
use super::socket::SOCKET_OPTIONS;

/// Comments are wrapped to this width, "# " included.
const WIDTH: usize = 78;

const HEAD: &str = r##"# The configuration of onepoll, with every key at its default.
#
# A key in a comment is unset by default: its value is a sample, and the lines
# above say what holds if it is unset. A service that the file does not name is
# not started.
#
#     onepoll config check FILE     says what would be served
#     onepoll serve --config FILE   serves it

# The address of every service: an IP address of this machine, 0.0.0.0 for all
# of its IPv4 networks, :: for IPv6. Other machines cannot reach what is bound
# to 127.0.0.1.
bind = "127.0.0.1"

# The memory that all clients together may make the daemon hold: input that is
# incomplete, output that is not read, rooms, and the tables of those that send
# datagrams. When it is used up, the address that holds most loses its largest
# connection; on loopback, where all have one address, the connection that
# holds most is lost. "auto" is half of
# what the process can have: of the machine's memory, of its control group's
# limit, or of RLIMIT_AS.
memory = "auto"

# Limits apply to every service, and each can also be set in a service's table.
# There, a limit that means nothing to the service is an error; here it is
# ignored. 0 turns a limit off. Durations look like "200ms", "5s", "1m30s",
# "1h"; sizes like "512 B", "64 KiB" or "64k", "1 MiB" or "1m".
[limits]
"##;

const SOCKET_HEAD: &str = r##"
# Socket options apply to every service, and each can also be set in a
# service's table. There, an option of a transport that the service does not
# use is an error; here it is ignored. RUST_LOG=onepoll=trace logs what the
# kernel made of them.
#
# SO_RCVTIMEO and SO_SNDTIMEO are missing on purpose: they limit how long a
# blocking call waits, and this daemon makes none. Set idle_timeout and
# send_timeout in [limits] instead.
[socket]
"##;

const SERVICES_HEAD: &str = r##"
# A service is a table [services.NAME] with a port for each transport that it
# is to use; port 0 takes a free one. A bind address, limits and socket options
# in the table are for this service alone. To run a service twice, give the
# second table another name and a kind. For instance:
#
#     [services."메아리"]
#     kind = "echo"
#     bind = "127.0.0.1"
#     tcp = 4000
"##;

/// A commented file with every key at its default: what is served without a file.
pub fn example(catalog: &[&'static Description]) -> String {
    let mut text = String::from(HEAD);
    LIMITS.iter().for_each(|setting| write_key(&setting.key, &mut text));
    text += SOCKET_HEAD;
    SOCKET_OPTIONS.iter().for_each(|setting| write_key(&setting.key, &mut text));
    text += SERVICES_HEAD;
    catalog.iter().for_each(|description| write_service(description, &mut text));
    text
}

fn write_service(description: &Description, text: &mut String) {
    let Description { name, about, notes, keys, .. } = description;
    let mut about = about.to_string();
    if let Some(first) = about.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.push('\n');
    write_comment(&format!("{about}. {notes}"), text);
    *text += &format!("[services.{name}]\n");
    for (key, port) in [("tcp", description.tcp), ("udp", description.udp)] {
        if let Some(port) = port {
            *text += &format!("{key} = {port}\n");
        }
    }
    keys.iter().for_each(|key| write_key(key, text));
}

fn write_key(key: &Key, text: &mut String) {
    write_comment(key.about, text);
    *text += &match key.value {
        Value::Default(value) => format!("{} = {value}\n", key.name),
        Value::Sample(value) => format!("# {} = {value}\n", key.name),
    };
}

/// Writes a sentence as lines of comment.
fn write_comment(sentence: &str, text: &mut String) {
    let mut width = 0;
    for word in sentence.split_whitespace() {
        let length = word.chars().count();
        if width > 0 && width + 1 + length <= WIDTH {
            text.push(' ');
            width += 1 + length;
        } else {
            *text += if width > 0 { "\n# " } else { "# " };
            width = 2 + length;
        }
        *text += word;
    }
    if width > 0 {
        text.push('\n');
    }
}
