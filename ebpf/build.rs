//! Compiles the programs with clang for the BPF target. `BPF_CLANG` names another compiler than `clang-19`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SOURCE: &str = "bpftables.bpf.c";
/// The guard at netfilter's hooks, loaded apart: its programs are of other types.
const GUARD_SOURCE: &str = "guard.bpf.c";
const DEFAULT_CLANG: &str = "clang-19";
/// Structs of `c/abi.h` that mirror one of the crate `abi`.
const MIRRORED: [&str; 41] = [
    "bt_header",
    "bt_chain",
    "bt_field",
    "bt_bucket",
    "bt_rule",
    "bt_op",
    "bt_recent_params",
    "bt_nat_params",
    "bt_hmark_params",
    "bt_tproxy_params",
    "bt_tee_params",
    "bt_rateest",
    "bt_control",
    "bt_port",
    "bt_icmp_conf",
    "bt_time_params",
    "bt_hashlimit_table",
    "bt_acct",
    "bt_set_params",
    "bt_set_type",
    "bt_set_conf",
    "bt_set_probe",
    "bt_set_target",
    "bt_set_head",
    "bt_set_key",
    "bt_set_change",
    "bt_counter",
    "bt_addr_key",
    "bt_addr_info",
    "bt_dev_info",
    "bt_log_params",
    "bt_event_head",
    "bt_event",
    "bt_nflog_params",
    "bt_nflog_event",
    "bt_chain_name",
    "bt_survey",
    "bt_tuple",
    "bt_tuple_line",
    "bt_tcp_side",
    "bt_conn",
];

/// Those of IPv6 alone.
const MIRRORED6: [&str; 4] = ["bt_key6", "bt_bucket6", "bt_addrs6", "bt_npt_params"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let sources = manifest.join("c");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", sources.display());
    println!("cargo::rerun-if-env-changed=BPF_CLANG");

    let clang = env::var_os("BPF_CLANG").unwrap_or_else(|| OsString::from(DEFAULT_CLANG));
    // One guard serves both families.
    let guard = out.join("guard.bpf.o");
    let build = Build { clang: &clang, sources: &sources, manifest: &manifest, family: 4 };
    build.compile(&sources.join(GUARD_SOURCE), &guard)?;
    println!("cargo::rustc-env=BPFTABLES_GUARD_OBJECT={}", guard.display());
    let read = |path: &Path| fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));

    for family in [4, 6] {
        let build = Build { clang: &clang, sources: &sources, manifest: &manifest, family };
        let object = out.join(format!("bpftables{family}.bpf.o"));
        build.compile(&sources.join(SOURCE), &object)?;

        // Clang describes only types that programs and maps name; those that programs reach by casts are named here.
        let layout = out.join(format!("layout{family}.c"));
        let own: &[&str] = if family == 6 { &MIRRORED6 } else { &[] };
        let variables: String =
            MIRRORED.iter().chain(own).map(|name| format!("struct {name} layout_of_{name};\n")).collect();
        fs::write(&layout, format!("#include <linux/types.h>\n#include \"abi.h\"\n{variables}"))
            .map_err(|e| format!("cannot write {}: {e}", layout.display()))?;
        let layout_object = out.join(format!("layout{family}.o"));
        build.compile(&layout, &layout_object)?;
        println!("cargo::rustc-env=BPFTABLES_LAYOUT_OBJECT{family}={}", layout_object.display());

        let bytes = [read(&object)?, read(&guard)?].concat();
        println!("cargo::rustc-env=BPFTABLES_OBJECT{family}={}", object.display());
        println!("cargo::rustc-env=BPFTABLES_OBJECT_HASH{family}={:016x}", fnv1a(&bytes));
    }
    Ok(())
}

/// What a compilation needs to know.
struct Build<'a> {
    clang: &'a OsString,
    sources: &'a Path,
    manifest: &'a Path,
    /// 4 or 6: the sources serve both.
    family: u32,
}

impl Build<'_> {
    fn compile(&self, source: &Path, object: &Path) -> Result<(), String> {
        let define = format!("-DBT_FAMILY={}", self.family);
        compile(self.clang, self.sources, source, object, self.manifest, &define)
    }
}

fn compile(
    clang: &OsString,
    sources: &Path,
    source: &Path,
    object: &Path,
    manifest: &Path,
    define: &str,
) -> Result<(), String> {
    let name = clang.to_string_lossy();
    let mut command = Command::new(clang);
    command
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Werror", "-D__TARGET_ARCH_x86"])
        .arg(define)
        .arg("-I")
        .arg(sources)
        // The BPF target knows no multi-arch directory; that is where Debian keeps asm/types.h.
        .args(["-idirafter", "/usr/include/x86_64-linux-gnu"])
        // No path of the machine that compiles reaches the object's debug information.
        .arg(format!("-ffile-prefix-map={}=ebpf", manifest.display()))
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object);
    let output = command.output().map_err(|e| {
        format!("cannot run {name}, which compiles the BPF programs: {e}; `cargo xtask setup` installs it, or BPF_CLANG names another clang")
    })?;
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        return Ok(());
    }
    if text.contains("bpf_helpers.h' file not found") || text.contains("asm/types.h' file not found") {
        return Err(format!("{name} misses the BPF headers; `cargo xtask setup` installs them (libbpf-dev)\n{text}"));
    }
    Err(format!("{name} failed on {} ({})\n{text}", source.display(), output.status))
}

/// 64-bit FNV-1a: tells one object from another, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
