//! A plan as JSON.

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::Plan;

/// The fields by their names, and what follows from them.
impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Destructured, so that a new field cannot be forgotten.
        let Self {
            target_shape,
            dates,
            observed_dates,
            tile_shape,
            tiles,
            independent_cells,
            windows,
            states_per_window,
            independent_parts,
            bands_together,
            bands_apart,
            operations,
            batch_dates,
            threads,
            budget_bytes,
            lag,
            precision,
            program_bytes,
            reading_bytes,
            slice_bytes,
            output_bytes,
            state_bytes,
            lag_bytes,
            workspace_bytes,
            checkpoint_scratch_bytes,
            store_memory_bytes,
            encoding,
            overviews,
            store_bytes,
            store_objects,
            checkpoint,
            full_checkpoint_bytes,
            light_checkpoint_bytes,
            instruments,
            warnings,
        } = self;
        let mut plan = serializer.serialize_struct("Plan", 38)?;
        plan.serialize_field("target_shape", target_shape)?;
        plan.serialize_field("dates", dates)?;
        plan.serialize_field("observed_dates", observed_dates)?;
        plan.serialize_field("tile_shape", tile_shape)?;
        plan.serialize_field("tiles", tiles)?;
        plan.serialize_field("independent_cells", independent_cells)?;
        plan.serialize_field("windows", windows)?;
        plan.serialize_field("states_per_window", states_per_window)?;
        plan.serialize_field("independent_parts", independent_parts)?;
        plan.serialize_field("bands_together", bands_together)?;
        plan.serialize_field("bands_apart", bands_apart)?;
        plan.serialize_field("operations", operations)?;
        plan.serialize_field("filter_seconds", &self.filter_time().as_secs_f64())?;
        plan.serialize_field("batch_dates", batch_dates)?;
        plan.serialize_field("threads", threads)?;
        plan.serialize_field("lag", lag)?;
        plan.serialize_field("precision", &precision.to_string())?;
        plan.serialize_field("budget_bytes", budget_bytes)?;
        plan.serialize_field("memory_bytes", &self.memory_bytes())?;
        plan.serialize_field("program_bytes", program_bytes)?;
        plan.serialize_field("reading_bytes", reading_bytes)?;
        plan.serialize_field("slice_bytes", slice_bytes)?;
        plan.serialize_field("output_bytes", output_bytes)?;
        plan.serialize_field("state_bytes", state_bytes)?;
        plan.serialize_field("lag_bytes", lag_bytes)?;
        plan.serialize_field("workspace_bytes", workspace_bytes)?;
        plan.serialize_field("checkpoint_scratch_bytes", checkpoint_scratch_bytes)?;
        plan.serialize_field("store_memory_bytes", store_memory_bytes)?;
        plan.serialize_field("disk_bytes", &self.disk_bytes())?;
        plan.serialize_field("encoding", &encoding.to_string())?;
        plan.serialize_field("overviews", overviews)?;
        plan.serialize_field("store_bytes", store_bytes)?;
        plan.serialize_field("store_objects", store_objects)?;
        plan.serialize_field("checkpoint", &checkpoint.to_string())?;
        plan.serialize_field("full_checkpoint_bytes", full_checkpoint_bytes)?;
        plan.serialize_field("light_checkpoint_bytes", light_checkpoint_bytes)?;
        plan.serialize_field("instruments", instruments)?;
        plan.serialize_field("warnings", warnings)?;
        plan.end()
    }
}
