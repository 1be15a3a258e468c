#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| onepoll_fuzz::targets::upload_names::TARGET.run(input));
