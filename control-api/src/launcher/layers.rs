//! The layers between cards and host, as the launcher has entered them, in log and figures.

use cardhost_wire::layers::{Layer, LayerName};

/// One line for those that hold, one for each that is missing, and a gauge for each. Without control groups that nobody
/// asked for there is nothing to warn of.
pub(super) fn tell(layers: &[Layer], control_groups: bool) {
    let held: Vec<_> = layers.iter().filter(|layer| layer.holds).map(|layer| layer.name.name()).collect();
    tracing::info!(layers = held.join(" "), "between cards and host");
    for Layer { name, holds, detail } in layers {
        match (holds, name) {
            (true, _) => {}
            (false, LayerName::ControlGroup) if !control_groups => {
                tracing::info!(layer = name.name(), detail, "a layer between cards and host is missing");
            }
            (false, _) => {
                tracing::warn!(layer = name.name(), detail, "a layer between cards and host is missing");
            }
        }
        let gauge = metrics::gauge!("cardhost_isolation_layer", "layer" => name.name());
        gauge.set(if *holds { 1.0 } else { 0.0 });
    }
}
