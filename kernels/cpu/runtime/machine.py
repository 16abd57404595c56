def instructions():
    return {}
