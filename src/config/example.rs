//! `config example`: a file with every key at its default, put together from
//! what limits, socket options and services say about themselves.

use super::description::{Description, Key, Value};
use super::limits::LIMITS;
use super::socket::SOCKET_OPTIONS;

/// Comments are wrapped to this width, "# " included.
const WIDTH: usize = 78;

const HEAD: &str = r##"# The configuration of onepoll, with every key at its default.
#
# A key that starts with "# " has no value of its own by default: what stands
# there is a sample, and the line above says what holds without it. A service
# that the file does not name is not started.
#
#     onepoll config check FILE     says what would be served
#     onepoll serve --config FILE   serves it

# The address of every service: an IP address of this machine, 0.0.0.0 for all
# of its IPv4 networks, :: for IPv6. Other machines reach nothing that is
# bound to 127.0.0.1.
bind = "127.0.0.1"

# Limits hold for every service, and each may also stand in a service's table.
# 0 turns a limit off. Durations read "200ms", "5s", "1m30s", "1h"; sizes read
# "512 B", "64 KiB" or "64k", "1 MiB" or "1m".
[limits]
"##;

const SOCKET_HEAD: &str = r##"
# Socket options for every service, each also for a service's table, where one
# that makes no sense for its transport is an error. Here they apply where they
# make sense. What the kernel made of them is in the log at debug.
#
# SO_RCVTIMEO and SO_SNDTIMEO are missing on purpose: they bound how long a
# blocking call waits, and this daemon has none. They are idle_timeout and
# send_timeout in [limits].
[socket]
"##;

const SERVICES_HEAD: &str = r##"
# A service is a table [services.NAME] with a port for each transport it is to
# serve; port 0 takes a free one. Limits and socket options in it are for this
# service alone, and so is an address of its own. One kind of service may run
# twice: a table whose name does not say what it does has a kind. For instance:
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

/// A sentence as lines of comment.
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
