//! How many connections, or other places in a table, each address has.

use std::collections::HashMap;
use std::net::IpAddr;

/// One address may have a quarter of everything, unless a setting says otherwise: little
/// enough that it cannot shut others out, and enough for a class behind one address.
const PART: usize = 4;

/// The share of one address, of so many places in all; 0 is no limit.
pub(crate) fn share(of: usize) -> usize {
    of.div_ceil(PART)
}

/// The number of places of each address that has any.
#[derive(Debug, Default)]
pub(crate) struct PerAddress(HashMap<IpAddr, usize>);

impl PerAddress {
    pub fn count(&self, address: IpAddr) -> usize {
        self.0.get(&address).copied().unwrap_or(0)
    }

    pub fn add(&mut self, address: IpAddr) {
        *self.0.entry(address).or_default() += 1;
    }

    pub fn remove(&mut self, address: IpAddr) {
        if let Some(count) = self.0.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&address);
            }
        }
    }

    #[cfg(feature = "simulated")]
    pub fn counts(&self) -> &HashMap<IpAddr, usize> {
        &self.0
    }
}
