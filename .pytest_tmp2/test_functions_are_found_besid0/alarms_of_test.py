import pathlib
async def link(event):
    pathlib.Path('/work/main/.pytest_tmp2/test_functions_are_found_besid0/seen').write_text(event['ifname'])
