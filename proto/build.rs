//! Generates the tonic code of the `.proto` files; needs `protoc` (`cargo xtask setup` installs it).
fn main() -> std::io::Result<()> {
    tonic_prost_build::configure().compile_protos(
        &["proto/slipway/worker.proto", "proto/slipway/router.proto", "proto/slipway/api.proto", "proto/slipway/raft.proto"],
        &["proto"],
    )
}
