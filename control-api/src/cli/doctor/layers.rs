//! The layers between cards and host: those of a daemon that runs, or of one that would.

use std::path::Path;

use anyhow::Context as _;
use cardhost_wire::layers::{Layer, LayerName};
use serde_json::Value;

use super::Finding;
use crate::{
    cli::{block_on, client::Client},
    host::AdministratorFile,
};

/// The layers of the daemon that has its data here; `None` if it does not run, or is not ready.
pub(super) fn of_daemon(data: &Path) -> Option<Vec<Finding>> {
    let file = AdministratorFile::read(&data.join("admin.json")).ok()?;
    let ready = block_on(async {
        let daemon = Client::anonymous(&file.url, &file.ca_pem, None)?;
        daemon.get("/readyz").await.context("the daemon is not ready")
    });
    told(&ready.ok()?)
}

/// What a daemon tells.
fn told(ready: &Value) -> Option<Vec<Finding>> {
    let layers = ready["layers"].as_array()?.iter();
    let findings = layers.filter_map(|layer| {
        let name = LayerName::ALL.into_iter().find(|name| Some(name.name()) == layer["layer"].as_str())?;
        Some(match layer["holds"].as_bool()? {
            true => Finding::good(name.name(), "the running daemon's cards have it"),
            false => {
                Finding::warning(name.name(), "missing, the running daemon's log says why", advice(name))
            }
        })
    });
    Some(findings.collect())
}

/// What the launcher said in a trial.
pub(super) fn of_trial(said: &str) -> Vec<Finding> {
    let layers = said.lines().filter_map(|line| line.parse::<Layer>().ok());
    layers
        .map(|Layer { name, holds, detail }| match holds {
            true => Finding::good(name.name(), detail),
            false => Finding::warning(name.name(), format!("missing: {detail}"), advice(name)),
        })
        .collect()
}

/// What gives cards a layer.
const fn advice(layer: LayerName) -> &'static str {
    match layer {
        LayerName::VirtualMachine => {
            "give the daemon /dev/kvm, and start it without --insecure-process-isolation"
        }
        LayerName::Users => {
            "run the daemon with AmbientCapabilities=CAP_SETUID CAP_SETGID (docs/isolation.md)"
        }
        LayerName::Namespaces | LayerName::Root => {
            "run the daemon with AmbientCapabilities=CAP_SYS_ADMIN, or allow its user namespaces (docs/isolation.md)"
        }
        LayerName::ControlGroup => {
            "name a parent for the cards' groups: cardhost serve --cgroup PATH (docs/isolation.md)"
        }
        LayerName::Slices => "use Linux 6.12 or later",
        LayerName::LockedKeys => {
            "raise `memlock` to 64 KiB in /etc/security/limits.conf, or LimitMEMLOCK in the unit"
        }
        // The launcher never misses these: without them no card starts.
        LayerName::Capabilities | LayerName::SystemCalls | LayerName::Limits => "see the daemon's log",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::Verdict;

    #[test]
    fn a_trial_tells_each_layer_and_what_to_do_for_a_missing_one() {
        let found =
            of_trial("cards can run here\nusers holds: each its own\ncgroup missing: none is configured\n");
        assert_eq!((found.len(), found[0].verdict, found[1].verdict), (2, Verdict::Good, Verdict::Warning));
        assert_eq!(found[1].observed, "missing: none is configured");
        assert!(found[1].advice.as_ref().unwrap().contains("--cgroup"));
    }

    #[test]
    fn a_daemon_tells_the_same_layers() {
        let layers = [("slices", false), ("root", true), ("moat", true)];
        let layers = layers.map(|(layer, holds)| json!({ "layer": layer, "holds": holds }));
        let found = told(&json!({ "isolation": "microvm", "layers": layers })).unwrap();
        assert_eq!((found[0].check, found[0].verdict), ("slices", Verdict::Warning));
        assert_eq!((found.len(), found[1].verdict), (2, Verdict::Good));
        assert_eq!(told(&json!("ready")), None);
    }
}
