//! How the appliance of a test is configured.

use std::fs;
use std::path::Path;

/// The daemon's address; stories run in a network namespace of their own.
pub(crate) const ADDRESS: &str = "192.0.2.10";

/// Writes the configuration and a server type.
pub(crate) fn configure(dir: &Path, pxe: &str, more: &str) {
    fs::create_dir_all(dir.join("server-types")).unwrap();
    let config = format!(
        "data_dir = \"{dir}/data\"\n[server]\nlisten = \"{ADDRESS}:8080\"\npublic_url = \"http://{ADDRESS}:8080\"\n\
         [pxe]\n{pxe}{more}",
        dir = dir.display()
    );
    fs::write(dir.join("ironhatch.toml"), config).unwrap();
    let disk = "{ property = \"ID_SERIAL_SHORT\", value = \"DISK1\" }";
    fs::write(dir.join("server-types/lab.toml"), server_type(disk)).unwrap();
}

/// The text of a server type with this boot disk.
pub(crate) fn server_type(boot_disk: &str) -> String {
    format!(
        "display_name = \"Lab machine\"\nboot_disk = {boot_disk}\nhostname_prefix = \"pve\"\n\
         answer_template = \"ext4-lvm\"\ndomain = \"lab.test\"\n"
    )
}
