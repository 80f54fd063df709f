//! Opens a device, with subgroups where the adapter has them: the one thing that is asked for beyond
//! WebGPU's defaults, and nothing depends on it but a tier.

const DESCRIPTOR: wgpu::DeviceDescriptor<'static> = wgpu::DeviceDescriptor {
    label: Some("potluck"),
    required_features: wgpu::Features::empty(),
    required_limits: wgpu::Limits::defaults(),
    experimental_features: wgpu::ExperimentalFeatures::disabled(),
    memory_hints: wgpu::MemoryHints::Performance,
    trace: wgpu::Trace::Off,
};

/// The device, its queue, and whether its shaders may use subgroups.
type Opened = Result<(wgpu::Device, wgpu::Queue, bool), wgpu::RequestDeviceError>;

#[cfg(not(target_arch = "wasm32"))]
pub(super) async fn request_device(adapter: &wgpu::Adapter) -> Opened {
    let subgroups = adapter.features() & wgpu::Features::SUBGROUP;
    let descriptor = wgpu::DeviceDescriptor { required_features: subgroups, ..DESCRIPTOR };
    let (device, queue) = adapter.request_device(&descriptor).await?;
    Ok((device, queue, !subgroups.is_empty()))
}

/// In browsers wgpu 30 knows nothing of subgroups and has no way to ask for them (gfx-rs/wgpu#5555). So
/// its request is completed on the way: for this one call the browser's `requestDevice` has a proxy.
#[cfg(target_arch = "wasm32")]
pub(super) async fn request_device(adapter: &wgpu::Adapter) -> Opened {
    use std::{cell::Cell, rc::Rc};

    use js_sys::{Array, Function, Object, Proxy, Reflect};
    use wasm_bindgen::{JsCast, JsValue, closure::Closure};

    let get = |of: &JsValue, name: &str| Reflect::get(of, &name.into()).unwrap_or_default();
    let prototype = get(&get(&js_sys::global(), "GPUAdapter"), "prototype");
    let original = get(&prototype, "requestDevice");
    let subgroups = Rc::new(Cell::new(false));
    let found = Rc::clone(&subgroups);
    let complete = Closure::<dyn Fn(Function, JsValue, Array) -> JsValue>::new(
        move |request: Function, adapter: JsValue, arguments: Array| {
            let features = get(&adapter, "features");
            let name = JsValue::from("subgroups");
            let has = get(&features, "has").dyn_into().and_then(|has: Function| has.call1(&features, &name));
            if has.is_ok_and(|has| has.is_truthy()) {
                get(&arguments.get(0), "requiredFeatures").unchecked_into::<Array>().push(&name);
                found.set(true);
            }
            request.apply(&adapter, &arguments).unwrap_or_else(|error| js_sys::Promise::reject(&error).into())
        },
    );
    let handler = Object::new();
    let set = |of: &JsValue, name: &str, value: &JsValue| Reflect::set(of, &name.into(), value).is_ok();
    set(&handler, "apply", complete.as_ref());
    set(&prototype, "requestDevice", &Proxy::new(&original, &handler));
    // The browser is asked before this returns, and nobody else's turn comes in between.
    let opened = adapter.request_device(&DESCRIPTOR);
    set(&prototype, "requestDevice", &original);
    let (device, queue) = opened.await?;
    Ok((device, queue, subgroups.get()))
}
