//! The layers between cards and host, as the launcher has entered them, in log and figures.

use cardhost_wire::layers::Layer;

/// One line for those that hold, one for each that is missing, and a gauge for each.
pub(super) fn tell(layers: &[Layer]) {
    let held: Vec<_> = layers.iter().filter(|layer| layer.holds).map(|layer| layer.name.name()).collect();
    tracing::info!(layers = held.join(" "), "between cards and host");
    for Layer { name, holds, detail } in layers {
        if !holds {
            tracing::warn!(layer = name.name(), detail, "a layer between cards and host is missing");
        }
        let gauge = metrics::gauge!("cardhost_isolation_layer", "layer" => name.name());
        gauge.set(if *holds { 1.0 } else { 0.0 });
    }
}
