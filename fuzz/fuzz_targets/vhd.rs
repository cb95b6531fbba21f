#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| reseal_testdata::fuzz::vhd(data));
