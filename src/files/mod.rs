//! Files that services share with their clients.
