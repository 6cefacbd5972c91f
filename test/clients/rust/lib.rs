//! The Rust clients against a blobd that is told of in the environment; each is a file in tests.

/// What the environment says of the running blobd.
pub fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run test/clients/run.sh -k rust"))
}
