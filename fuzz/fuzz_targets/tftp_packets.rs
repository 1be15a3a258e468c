#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| onepoll_fuzz::targets::tftp_packets::TARGET.run(input));
