import asyncio, pathlib
async def link(event):
    pathlib.Path('/work/main/.pytest_tmp2/test_a_coroutine_that_sleeps_i0/seen').touch()
    await asyncio.sleep(600)
