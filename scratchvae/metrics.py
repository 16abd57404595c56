def report(model, images, rng, **_):
    return {}
