//! Which process has a port, as the kernel's tables tell it.

use std::fs;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
}

/// "collector (process 42)". None where nobody has the port, or the process is another user's.
pub(crate) fn holder(protocol: Protocol, port: u16) -> Option<String> {
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
    };
    let mut rows = tables.iter().filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok());
    let socket = rows.find_map(|table| socket_of(&table, protocol, port))?;
    let link = format!("socket:[{socket}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Ok(pid) = process.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let has_it = |descriptor: fs::DirEntry| {
            fs::read_link(descriptor.path()).is_ok_and(|target| target.as_os_str() == link.as_str())
        };
        if descriptors.flatten().any(has_it) {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {pid})", name.trim()));
        }
    }
    None
}

/// The inode of the socket that listens on a port.
fn socket_of(table: &str, protocol: Protocol, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local_port) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(local_port, 16) == Ok(port)
            && (protocol == Protocol::Udp || fields.get(3) == Some(&LISTENS));
        is_it.then(|| fields.get(9).map(ToString::to_string)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
         0: 0100007F:1235 0100007F:10DE 01 00000000:00000000 00:00000000 00000000     0        0 1 1 x\n\
         1: 0100007F:10DE 0100007F:1235 01 00000000:00000000 00:00000000 00000000     0        0 2 1 x\n\
         2: 0100007F:10DE 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 3 1 x\n";

    #[test]
    fn the_socket_that_listens_is_found_among_connections_of_the_same_port() {
        assert_eq!(socket_of(TABLE, Protocol::Tcp, 4318), Some("3".to_owned()));
        assert_eq!(socket_of(TABLE, Protocol::Tcp, 4661), None);
        assert_eq!(socket_of(TABLE, Protocol::Udp, 4661), Some("1".to_owned()));
        assert_eq!(socket_of("no table", Protocol::Tcp, 4318), None);
    }

    #[test]
    fn this_process_is_found_by_a_port_of_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = holder(Protocol::Tcp, port).unwrap();
        assert!(found.ends_with(&format!("(process {})", std::process::id())), "{found}");
        drop(listener);
        assert_eq!(holder(Protocol::Tcp, port), None);
    }
}
