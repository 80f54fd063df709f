//! One square matrix product alone on a device, for measuring.

use crate::{Dispatch, Engine, EngineError, Form, Kernel, Place, Plan, Then, trainer::Bench};

/// Slots of the plan: the operands, the product, and one value that is read to see that the device
/// is done.
const A: usize = 0;
const B: usize = 1;
const OUT: usize = 2;
const FENCE: usize = 3;

/// `out = a . b`, all `(size, size)`, `a` or `b` transposed in memory by form.
pub struct Product {
    bench: Bench,
}

impl Product {
    /// Prepares the product and writes the operands.
    ///
    /// # Errors
    /// A failing device.
    pub async fn open(engine: &Engine, form: Form, size: u32, a: &[f32], b: &[f32]) -> Result<Self, EngineError> {
        let kernel = Kernel::MatMul {
            form,
            m: size,
            n: size,
            k: size,
            bias: false,
            then: Then::Store,
            row_sums: false,
            batch: 1,
        };
        let tier = engine.tier(&kernel);
        let (reads, writes) = (vec![Place::Slot(A), Place::Slot(B)], vec![Place::Slot(OUT)]);
        let dispatch = Dispatch { kernel, tier, reads, writes };
        let values = size as usize * size as usize;
        let mut bench = Bench::new(engine, Plan::bare(vec![dispatch], vec![values, values, values, 1], 0)).await?;
        bench.write_slot(A, bytemuck::cast_slice(a));
        bench.write_slot(B, bytemuck::cast_slice(b));
        Ok(Self { bench })
    }

    /// Multiplies once and waits until it is done.
    ///
    /// # Errors
    /// A failing device.
    pub async fn run(&mut self) -> Result<(), EngineError> {
        self.bench.run(1).await?;
        self.bench.read(Place::Slot(FENCE)).await.map(drop)
    }

    /// The first value of the product.
    ///
    /// # Errors
    /// A failing device.
    pub async fn corner(&self) -> Result<f32, EngineError> {
        Ok(self.bench.read(Place::Slot(OUT)).await?[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Choice;

    #[test]
    fn a_product_is_one() {
        let corner = |form| {
            pollster::block_on(async {
                let engine = Engine::open(Choice::Cpu).await.expect("always there");
                let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
                let mut product = Product::open(&engine, form, 2, &a, &b).await.expect("it fits");
                product.run().await.expect("it runs");
                product.corner().await.expect("it is there")
            })
        };
        assert_eq!([Form::Nn, Form::Nt, Form::Tn].map(corner), [19.0, 17.0, 26.0]);
    }
}
